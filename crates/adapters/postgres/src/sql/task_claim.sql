-- Starts what is due of one type, each tenant's oldest before any tenant's second. Tenants are found one by the other, so that
-- none of their tasks is looked at for it. More candidates are taken than are wanted, because another worker may be starting the
-- first of them; those are passed over, and the status is looked at again once the row is locked. Rows are then found by their
-- place, so that no plan can come to read all of them.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() + $6 * interval '1 microsecond' AS now
), tenants AS (
    (SELECT tenant FROM tasks WHERE status IN ('scheduled', 'queued', 'retrying') ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT tasks.tenant FROM tasks
        WHERE status IN ('scheduled', 'queued', 'retrying') AND tasks.tenant > tenants.tenant ORDER BY tasks.tenant LIMIT 1
    ) FROM tenants WHERE tenants.tenant IS NOT NULL
), candidates AS MATERIALIZED (
    SELECT tenants.tenant, due.id, due.run_at, due.rank
    FROM tenants CROSS JOIN LATERAL (
        SELECT id, run_at, row_number() OVER (ORDER BY run_at, id) AS rank FROM (
            SELECT id, run_at FROM tasks
            WHERE tenant = tenants.tenant AND type = $1 AND status IN ('scheduled', 'queued', 'retrying')
                AND run_at <= (SELECT now FROM clock)
                AND (status <> 'queued' OR queued_at <= (SELECT now FROM clock) - $5 * interval '1 microsecond')
            ORDER BY run_at, id LIMIT $2 * 4
        ) AS oldest
    ) AS due
    WHERE tenants.tenant IS NOT NULL
    ORDER BY due.rank, due.run_at LIMIT $2 * 4
), taken AS MATERIALIZED (
    SELECT free.place FROM candidates CROSS JOIN LATERAL (
        SELECT ctid AS place, status, run_at FROM tasks
        WHERE tasks.tenant = candidates.tenant AND tasks.id = candidates.id
        OFFSET 0
        FOR UPDATE SKIP LOCKED
    ) AS free
    WHERE free.status IN ('scheduled', 'queued', 'retrying') AND free.run_at <= (SELECT now FROM clock)
    LIMIT $2
)
UPDATE tasks
SET status = 'running', attempt = attempt + 1, worker = $3, started_at = clock.now,
    lease_until = clock.now + $4 * interval '1 microsecond', ended_at = NULL, error = NULL, queued_at = NULL,
    earlier = CASE WHEN attempt > 0 THEN coalesce(earlier, '[]') || jsonb_build_array(jsonb_build_array(
        attempt, (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM ended_at) * 1000000)::bigint, worker, error
    )) END
FROM clock
WHERE tasks.ctid = ANY (ARRAY(SELECT place FROM taken))
