-- How many wait and run, and how long the oldest of a tenant that is due has waited.
SELECT type, status, count(*) AS count,
    (extract(epoch FROM clock_timestamp() + $1 * interval '1 microsecond' - min(run_at)) * 1000000)::bigint AS waited
FROM tasks WHERE status IN ('scheduled', 'queued', 'retrying') GROUP BY type, status
UNION ALL
SELECT type, status, count(*), NULL FROM tasks WHERE status = 'running' GROUP BY type, status
