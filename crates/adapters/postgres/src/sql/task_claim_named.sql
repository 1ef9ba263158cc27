-- Starts what is named and due, as far as nobody else is just starting it.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() + $6 * interval '1 microsecond' AS now
), taken AS MATERIALIZED (
    SELECT free.place FROM unnest($1::text[], $2::uuid[]) AS named (tenant, id) CROSS JOIN LATERAL (
        SELECT ctid AS place, type, status, run_at FROM tasks WHERE tasks.tenant = named.tenant AND tasks.id = named.id
        OFFSET 0
        FOR UPDATE SKIP LOCKED
    ) AS free
    WHERE free.status IN ('scheduled', 'queued', 'retrying') AND free.run_at <= (SELECT now FROM clock) AND free.type = $5
)
UPDATE tasks
SET status = 'running', attempt = attempt + 1, worker = $3, started_at = clock.now,
    lease_until = clock.now + $4 * interval '1 microsecond', ended_at = NULL, error = NULL, queued_at = NULL,
    earlier = CASE WHEN attempt > 0 THEN coalesce(earlier, '[]') || jsonb_build_array(jsonb_build_array(
        attempt, (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM ended_at) * 1000000)::bigint, worker, error
    )) END
FROM clock
WHERE tasks.ctid = ANY (ARRAY(SELECT place FROM taken))
