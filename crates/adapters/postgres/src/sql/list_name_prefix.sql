-- Walks entities_by_name from a position to the end of a prefix: the bound is the least text above all that begin with it.
SELECT type, reference, id, version, created_at, updated_at, properties, name_key
FROM entities
WHERE tenant = $1 AND type = $2 AND (name_key, id) > ($3, $4) AND name_key < $6 AND id IS NOT NULL AND name_key IS NOT NULL
ORDER BY name_key, id
LIMIT $5
