-- Walks the primary key.
DECLARE tombstones NO SCROLL CURSOR FOR
SELECT type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, properties, provenance, superseded
FROM entities
WHERE tenant = $1 AND type = $2 AND id IS NULL
ORDER BY reference
