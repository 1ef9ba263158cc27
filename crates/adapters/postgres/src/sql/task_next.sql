-- In how many microseconds the next task is due, of one type or of any.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() + $2 * interval '1 microsecond' AS now
), kinds AS (
    (SELECT tenant, type FROM tasks WHERE status IN ('scheduled', 'queued', 'retrying') ORDER BY tenant, type LIMIT 1)
    UNION ALL
    SELECT following.tenant, following.type FROM kinds CROSS JOIN LATERAL (
        SELECT tasks.tenant, tasks.type FROM tasks
        WHERE status IN ('scheduled', 'queued', 'retrying') AND (tasks.tenant, tasks.type) > (kinds.tenant, kinds.type)
        ORDER BY tasks.tenant, tasks.type LIMIT 1
    ) AS following
)
SELECT (extract(epoch FROM min(later.run_at) - (SELECT now FROM clock)) * 1000000)::bigint AS wait
FROM kinds CROSS JOIN LATERAL (
    SELECT run_at FROM tasks
    WHERE tenant = kinds.tenant AND type = kinds.type AND status IN ('scheduled', 'queued', 'retrying')
        AND run_at > (SELECT now FROM clock)
    ORDER BY run_at LIMIT 1
) AS later
WHERE $1::text IS NULL OR kinds.type = $1
