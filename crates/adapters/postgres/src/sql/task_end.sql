-- Ends runs that are still the current ones, each by its own ending: one call may hold another attempt of the same task. What was
-- to be cancelled is, whatever else ended it, but success. One that somebody changes at this moment may be left out, because its
-- place is another one then. Rows are locked in one order, so that no two calls wait for each other.
WITH ended AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::integer[])
        AS ended (tenant, id, attempt, status, error, wait, given_back)
    ORDER BY tenant, id
), current AS MATERIALIZED (
    SELECT held.place FROM ended CROSS JOIN LATERAL (
        SELECT ctid AS place, attempt, status FROM tasks WHERE tasks.tenant = ended.tenant AND tasks.id = ended.id
        OFFSET 0
        FOR UPDATE
    ) AS held
    WHERE held.attempt = ended.attempt AND held.status = 'running'
)
UPDATE tasks
SET lease_until = NULL, ended_at = clock.now, error = ended.error,
    status = CASE WHEN cancelling AND ended.status <> 'succeeded' THEN 'cancelled' ELSE ended.status END,
    run_at = CASE WHEN ended.wait IS NULL THEN run_at ELSE clock.now + ended.wait * interval '1 microsecond' END,
    last_attempt = last_attempt + ended.given_back
FROM ended, (SELECT clock_timestamp() + $8 * interval '1 microsecond' AS now) AS clock
WHERE tasks.ctid = ANY (ARRAY(SELECT place FROM current))
    AND tasks.tenant = ended.tenant AND tasks.id = ended.id AND tasks.attempt = ended.attempt
