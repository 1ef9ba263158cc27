-- One page, the newest first: ids are in the order of their making.
SELECT id, type, status, payload, run_at, created_at, attempt, max_attempts, last_attempt, unique_key, profile, cancelling, worker,
    started_at, ended_at, error, earlier
FROM tasks
WHERE tenant = $1 AND id < $2
    AND ($3::text IS NULL OR status = $3) AND ($4::text IS NULL OR type = $4)
    AND ($5::timestamptz IS NULL OR created_at >= $5) AND ($6::timestamptz IS NULL OR created_at < $6)
ORDER BY id DESC LIMIT $7
