-- Whole rounds that are old, a part of them, but never the last, from which the next goes on. Everything before one is what its
-- `before` sees, and what its `seen` sees with lower ids. Both ends of the range are named as in feed_round.sql.
WITH oldest AS MATERIALIZED (
    SELECT first, before FROM feed_rounds WHERE (SELECT is_ours FROM feed_identity) ORDER BY first LIMIT 1
), edge AS MATERIALIZED (
    SELECT feed_rounds.first, low, pg_snapshot_xmin(oldest.before) AS from_xid, feed_rounds.before, seen
    FROM oldest, feed_rounds
    WHERE feed_rounds.first <= oldest.first + $2
        AND feed_rounds.first <= coalesce(
            (SELECT first FROM feed_rounds WHERE at >= $1 ORDER BY first LIMIT 1), (SELECT max(first) FROM feed_rounds)
        )
    ORDER BY feed_rounds.first DESC LIMIT 1
), rounds AS (
    DELETE FROM feed_rounds USING edge WHERE feed_rounds.first < edge.first
)
DELETE FROM feed USING edge
WHERE feed.xid >= edge.from_xid AND feed.xid < pg_snapshot_xmax(edge.seen) AND pg_visible_in_snapshot(feed.xid, edge.seen)
    AND (pg_visible_in_snapshot(feed.xid, edge.before) OR feed.id < edge.low)
