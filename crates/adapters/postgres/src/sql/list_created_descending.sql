-- Walks entities_by_id backwards.
SELECT type, reference, id, version, created_at, updated_at, properties
FROM entities
WHERE tenant = $1 AND type = $2 AND id < $3 AND id IS NOT NULL
ORDER BY id DESC
LIMIT $4
