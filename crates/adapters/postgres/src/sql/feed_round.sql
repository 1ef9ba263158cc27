-- A round: what this statement sees and the last round didn't. Its snapshot must be later than the end of that round, so this
-- is not the statement that took the lock. Of more than $1 changes several rounds are made, so that none is long to read. The
-- moment is from before the snapshot was taken.
--
-- For the planner: both ends of each range are named, because it takes half a range for a third of the table; and what was open
-- is looked up one by one, in an order that the index has, because otherwise it reads the whole table after large commits.
WITH last AS MATERIALIZED (
    SELECT first + size AS next, seen, at FROM feed_rounds ORDER BY first DESC LIMIT 1
), span AS MATERIALIZED (
    SELECT coalesce((SELECT next FROM last), 1) AS next, coalesce((SELECT seen FROM last), '1:1:') AS before,
        (SELECT at FROM last) AS since, pg_current_snapshot() AS seen
), fresh AS (
    SELECT id, written FROM span, feed
    WHERE xid >= pg_snapshot_xmax(span.before) AND xid < pg_snapshot_xmax(span.seen) AND pg_visible_in_snapshot(xid, span.seen)
    UNION ALL
    SELECT late.* FROM span, pg_snapshot_xip(span.before) AS open (xid), LATERAL (
        SELECT id, written FROM feed WHERE feed.xid = open.xid ORDER BY id
    ) AS late
    WHERE pg_visible_in_snapshot(open.xid, span.seen)
), parts AS (
    SELECT min(rank) AS rank, count(*) AS size, min(id) AS low, max(id) AS high, min(written) AS oldest
    FROM (SELECT id, written, row_number() OVER (ORDER BY id) - 1 AS rank FROM fresh) AS ranked
    GROUP BY rank / $1
)
INSERT INTO feed_rounds (first, size, low, high, before, seen, oldest, at)
SELECT span.next + rank, size, low, high, span.before, span.seen, greatest(oldest, since), statement_timestamp()
FROM span, parts
