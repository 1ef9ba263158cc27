-- The feed as it stands, and whether there is a change without a position. Rounds that came from another database count for
-- nothing. Sorted, because the planner would look for any such change in the order of the table.
WITH identity AS MATERIALIZED (
    SELECT incarnation, is_ours FROM feed_identity
), last AS MATERIALIZED (
    SELECT first + size - 1 AS head, seen FROM feed_rounds WHERE (SELECT is_ours FROM identity) ORDER BY first DESC LIMIT 1
), span AS MATERIALIZED (
    SELECT coalesce((SELECT seen FROM last), '1:1:') AS before
)
SELECT incarnation, is_ours, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS run,
    coalesce((SELECT min(first) - 1 FROM feed_rounds WHERE is_ours), 0) AS trimmed,
    coalesce((SELECT head FROM last), 0) AS head,
    NOT is_ours
        OR (SELECT xid FROM feed WHERE xid >= (SELECT pg_snapshot_xmax(before) FROM span) ORDER BY xid LIMIT 1) IS NOT NULL
        OR EXISTS (
            SELECT FROM span, pg_snapshot_xip(span.before) AS open (xid), LATERAL (
                SELECT FROM feed WHERE feed.xid = open.xid ORDER BY id LIMIT 1
            ) AS late
        ) AS unnumbered
FROM identity
