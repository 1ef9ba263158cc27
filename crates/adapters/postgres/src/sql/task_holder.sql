-- The one that waits for its first start under a unique key, as the index `tasks_unique` has it.
SELECT id, status, run_at, created_at FROM tasks
WHERE tenant = $1 AND type = $2 AND unique_key = $3 AND attempt = 0 AND status IN ('scheduled', 'queued')
