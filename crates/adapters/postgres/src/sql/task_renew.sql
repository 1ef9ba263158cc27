-- Puts off the end of leases of runs that are the current ones; as task_end.sql.
WITH runs AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::integer[]) AS runs (tenant, id, attempt) ORDER BY tenant, id
), current AS MATERIALIZED (
    SELECT held.place FROM runs CROSS JOIN LATERAL (
        SELECT ctid AS place, attempt, status FROM tasks WHERE tasks.tenant = runs.tenant AND tasks.id = runs.id
        OFFSET 0
        FOR UPDATE
    ) AS held
    WHERE held.attempt = runs.attempt AND held.status = 'running'
)
UPDATE tasks SET lease_until = clock_timestamp() + ($4 + $5) * interval '1 microsecond'
WHERE ctid = ANY (ARRAY(SELECT place FROM current))
