-- What is due and the queue wasn't told of, or not for long, each tenant's oldest before any tenant's second.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() + $3 * interval '1 microsecond' AS now
), kinds AS (
    (SELECT tenant, type FROM tasks WHERE status IN ('scheduled', 'queued', 'retrying') ORDER BY tenant, type LIMIT 1)
    UNION ALL
    SELECT following.tenant, following.type FROM kinds CROSS JOIN LATERAL (
        SELECT tasks.tenant, tasks.type FROM tasks
        WHERE status IN ('scheduled', 'queued', 'retrying') AND (tasks.tenant, tasks.type) > (kinds.tenant, kinds.type)
        ORDER BY tasks.tenant, tasks.type LIMIT 1
    ) AS following
), candidates AS MATERIALIZED (
    SELECT kinds.tenant, due.id, due.run_at, due.rank
    FROM kinds CROSS JOIN LATERAL (
        SELECT id, run_at, row_number() OVER (ORDER BY run_at, id) AS rank FROM (
            SELECT id, run_at FROM tasks
            WHERE tenant = kinds.tenant AND type = kinds.type AND status IN ('scheduled', 'queued', 'retrying')
                AND run_at <= (SELECT now FROM clock)
                AND (status <> 'queued' OR queued_at <= (SELECT now FROM clock) - $2 * interval '1 microsecond')
            ORDER BY run_at, id LIMIT $1 * 2
        ) AS oldest
    ) AS due
    ORDER BY due.rank, due.run_at LIMIT $1 * 2
), taken AS MATERIALIZED (
    SELECT free.place FROM candidates CROSS JOIN LATERAL (
        SELECT ctid AS place, status, run_at, queued_at FROM tasks
        WHERE tasks.tenant = candidates.tenant AND tasks.id = candidates.id
        OFFSET 0
        FOR UPDATE SKIP LOCKED
    ) AS free
    WHERE free.status IN ('scheduled', 'queued', 'retrying') AND free.run_at <= (SELECT now FROM clock)
        AND (free.status <> 'queued' OR free.queued_at <= (SELECT now FROM clock) - $2 * interval '1 microsecond')
    LIMIT $1
)
UPDATE tasks SET status = 'queued', queued_at = clock.now
FROM clock
WHERE tasks.ctid = ANY (ARRAY(SELECT place FROM taken))
