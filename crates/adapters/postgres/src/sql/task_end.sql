-- Ends runs that are still the current ones. What was to be cancelled is, whatever else ended it, but success.
UPDATE tasks
SET lease_until = NULL, ended_at = clock.now, error = ended.error,
    status = CASE WHEN cancelling AND ended.status <> 'succeeded' THEN 'cancelled' ELSE ended.status END,
    run_at = CASE WHEN ended.wait IS NULL THEN run_at ELSE clock.now + ended.wait * interval '1 microsecond' END,
    last_attempt = last_attempt + ended.given_back
FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::integer[])
        AS ended (tenant, id, attempt, status, error, wait, given_back),
    (SELECT clock_timestamp() + $8 * interval '1 microsecond' AS now) AS clock
WHERE tasks.tenant = ended.tenant AND tasks.id = ended.id AND tasks.attempt = ended.attempt AND tasks.status = 'running'
