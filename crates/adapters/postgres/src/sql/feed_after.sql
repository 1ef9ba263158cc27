-- The state as in feed_state.sql, what follows position $1 of the round that holds the next one, and for how long what comes
-- after has been there: of the round that it belongs to, or of what has none.
-- What changed is read if $3 says so. For the planner see feed_round.sql.
WITH identity AS MATERIALIZED (
    SELECT incarnation, is_ours FROM feed_identity
), last AS MATERIALIZED (
    SELECT first + size - 1 AS head, seen, at FROM feed_rounds WHERE (SELECT is_ours FROM identity) ORDER BY first DESC LIMIT 1
), state AS MATERIALIZED (
    SELECT incarnation, is_ours,
        coalesce((SELECT min(first) - 1 FROM feed_rounds WHERE is_ours), 0) AS trimmed,
        coalesce((SELECT head FROM last), 0) AS head
    FROM identity
), round AS MATERIALIZED (
    SELECT holding.* FROM state, LATERAL (
        SELECT first, low, high, before, seen FROM feed_rounds WHERE first <= $1 + 1 ORDER BY first DESC LIMIT 1
    ) AS holding
    WHERE $1 >= state.trimmed AND $1 < state.head
), members AS (
    SELECT feed.* FROM round, feed
    WHERE feed.xid >= pg_snapshot_xmax(round.before) AND feed.xid < pg_snapshot_xmax(round.seen)
        AND feed.id BETWEEN round.low AND round.high AND pg_visible_in_snapshot(feed.xid, round.seen)
    UNION ALL
    SELECT late.* FROM round, pg_snapshot_xip(round.before) AS open (xid), LATERAL (
        SELECT * FROM feed WHERE feed.xid = open.xid AND feed.id BETWEEN round.low AND round.high ORDER BY id
    ) AS late
    WHERE pg_visible_in_snapshot(open.xid, round.seen)
), page AS MATERIALIZED (
    SELECT ranked.* FROM (
        SELECT (SELECT first FROM round) + row_number() OVER (ORDER BY id) - 1 AS position, members.* FROM members
    ) AS ranked
    WHERE position > $1 ORDER BY position LIMIT $2
), next AS MATERIALIZED (
    SELECT coalesce(max(position), $1) + 1 AS position FROM page
), span AS MATERIALIZED (
    SELECT coalesce((SELECT seen FROM last), '1:1:') AS before, (SELECT at FROM last) AS since, pg_current_snapshot() AS seen
), waiting AS MATERIALIZED (
    SELECT greatest(min(written), min(since)) AS oldest FROM (
        SELECT written, since FROM span, feed WHERE xid >= pg_snapshot_xmax(span.before) AND xid < pg_snapshot_xmax(span.seen)
        UNION ALL
        SELECT written, since FROM span, pg_snapshot_xip(span.before) AS open (xid), LATERAL (
            SELECT written FROM feed WHERE feed.xid = open.xid ORDER BY id
        ) AS late
    ) AS unnumbered
    HAVING count(*) > 0
), unread AS MATERIALIZED (
    SELECT coalesce(
        (SELECT oldest FROM feed_rounds WHERE first <= next.position AND next.position <= state.head ORDER BY first DESC LIMIT 1),
        (SELECT oldest FROM waiting)
    ) AS since
    FROM state, next
)
SELECT state.incarnation, state.is_ours, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS run, state.trimmed,
    state.head,
    (extract(epoch FROM clock_timestamp() - unread.since) * 1000000)::bigint AS unread,
    page.position, page.tenant, page.type, page.reference, page.version, page.kind,
    CASE WHEN $3 THEN page.changes END AS changes, page.at
FROM state CROSS JOIN unread LEFT JOIN page ON true
ORDER BY page.position
