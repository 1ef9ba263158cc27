-- Walks entities_by_id: nothing is sorted, so the first rows come at once.
DECLARE living NO SCROLL CURSOR FOR
SELECT type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, properties, provenance, superseded
FROM entities
WHERE tenant = $1 AND type = $2 AND id IS NOT NULL
ORDER BY id
