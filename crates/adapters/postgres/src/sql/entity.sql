-- As entities.sql has it: one, for a fraction of the price.
SELECT type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, properties, provenance, superseded
FROM entities
WHERE tenant = $1 AND type = $2 AND reference = $3
