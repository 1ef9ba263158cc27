-- Starts what is named and due, as far as nobody else is just starting it.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() + $6 * interval '1 microsecond' AS now
), taken AS MATERIALIZED (
    SELECT tasks.tenant, tasks.id FROM unnest($1::text[], $2::uuid[]) AS named (tenant, id) JOIN tasks USING (tenant, id)
    WHERE status IN ('scheduled', 'queued', 'retrying') AND tasks.run_at <= (SELECT now FROM clock) AND type = $5
    FOR UPDATE OF tasks SKIP LOCKED
)
UPDATE tasks
SET status = 'running', attempt = attempt + 1, worker = $3, started_at = clock.now,
    lease_until = clock.now + $4 * interval '1 microsecond', ended_at = NULL, error = NULL, queued_at = NULL,
    earlier = CASE WHEN attempt > 0 THEN coalesce(earlier, '[]') || jsonb_build_array(jsonb_build_array(
        attempt, (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM ended_at) * 1000000)::bigint, worker, error
    )) END
FROM taken, clock
WHERE tasks.tenant = taken.tenant AND tasks.id = taken.id
