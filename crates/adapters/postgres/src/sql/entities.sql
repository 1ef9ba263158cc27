-- One statement, so that all entities are of one snapshot. Each is looked up by its key: OFFSET 0 keeps the planner from making a
-- join of it, for which it would read all that the tenant has where it knows little of the table.
SELECT e.*
FROM unnest($2::text[], $3::text[]) AS wanted (type, reference)
CROSS JOIN LATERAL (
    SELECT type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, properties, provenance, superseded
    FROM entities
    WHERE tenant = $1 AND type = wanted.type AND reference = wanted.reference
    OFFSET 0
) AS e
