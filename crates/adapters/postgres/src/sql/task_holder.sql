-- Why a task was not inserted: one row always, whether its profile is living, and the task that waits for its first start under the
-- unique key, as the index `tasks_unique` has it, if there is one.
SELECT
    $4 IS NULL OR EXISTS (SELECT FROM entities WHERE tenant = $1 AND type = 'profile' AND reference = $4 AND id IS NOT NULL) AS lives,
    holder.profile IS NOT DISTINCT FROM $4 AS same, holder.id, holder.status, holder.run_at, holder.created_at
FROM (VALUES (1)) AS one LEFT JOIN tasks AS holder
    ON holder.tenant = $1 AND holder.type = $2 AND holder.unique_key = $3 AND holder.attempt = 0
        AND holder.status IN ('scheduled', 'queued')
