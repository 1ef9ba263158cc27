-- The condition on id leaves tombstones out.
SELECT type, reference, id, version, created_at, updated_at, properties
FROM entities
WHERE tenant = $1 AND type = $2 AND reference = $3 AND id IS NOT NULL
