-- Runs whose lease has ended. Somebody else may be ending one at this moment; it is passed over.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() + $3 * interval '1 microsecond' AS now
), taken AS MATERIALIZED (
    SELECT ctid AS place FROM tasks WHERE status = 'running' AND lease_until < (SELECT now FROM clock)
    LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE tasks
SET lease_until = NULL, ended_at = clock.now, error = $2, run_at = clock.now,
    status = CASE WHEN cancelling THEN 'cancelled' WHEN attempt >= last_attempt THEN 'dead' ELSE 'retrying' END
FROM clock
WHERE tasks.ctid = ANY (ARRAY(SELECT place FROM taken))
