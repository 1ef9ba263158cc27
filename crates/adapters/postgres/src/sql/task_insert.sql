-- Writes a task down, or finds another under its unique key: replaced where that is wanted and both belong to the same profile, and
-- else no row comes back. Nor does one where its profile isn't living. The lock on the profile keeps it from being deleted before this is committed: the deletion
-- must see the task, to cancel it.
WITH profile AS MATERIALIZED (
    SELECT 1 FROM entities WHERE tenant = $1 AND type = 'profile' AND reference = $9 AND id IS NOT NULL FOR SHARE
), clock AS MATERIALIZED (
    SELECT clock_timestamp() + $12 * interval '1 microsecond' AS now
)
INSERT INTO tasks AS holder (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt, unique_key, profile,
    traceparent)
SELECT $1, $2, $3, 'scheduled', $4, coalesce($5, clock.now + $6 * interval '1 microsecond'), clock.now, $7, $7, $8, $9, $10
FROM clock WHERE $9 IS NULL OR EXISTS (SELECT FROM profile)
ON CONFLICT (tenant, type, unique_key)
    WHERE unique_key IS NOT NULL AND attempt = 0 AND status IN ('scheduled', 'queued')
DO UPDATE SET payload = excluded.payload, run_at = excluded.run_at, status = 'scheduled', queued_at = NULL
    WHERE $11 AND holder.profile IS NOT DISTINCT FROM excluded.profile
RETURNING id, status, run_at, created_at
