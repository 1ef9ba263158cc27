-- What ended long ago, tenant by tenant.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() + ($3 - $1) * interval '1 microsecond' AS long_ago
), tenants AS (
    (SELECT tenant FROM tasks WHERE status IN ('succeeded', 'dead', 'cancelled') ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (
        SELECT tasks.tenant FROM tasks
        WHERE status IN ('succeeded', 'dead', 'cancelled') AND tasks.tenant > tenants.tenant ORDER BY tasks.tenant LIMIT 1
    ) FROM tenants WHERE tenants.tenant IS NOT NULL
), old AS MATERIALIZED (
    SELECT ended.place FROM tenants CROSS JOIN LATERAL (
        SELECT ctid AS place FROM tasks
        WHERE tenant = tenants.tenant AND status IN ('succeeded', 'dead', 'cancelled')
            AND ended_at < (SELECT long_ago FROM clock)
        ORDER BY ended_at LIMIT $2
    ) AS ended
    LIMIT $2
)
DELETE FROM tasks WHERE ctid = ANY (ARRAY(SELECT place FROM old))
