-- One statement, so that all entities are of one snapshot.
SELECT e.type, e.reference, e.id, e.version, e.created_at, e.updated_at, e.deleted_at, e.rules_revision, e.properties,
    e.provenance, e.superseded
FROM unnest($2::text[], $3::text[]) AS wanted (type, reference)
JOIN entities AS e ON e.tenant = $1 AND e.type = wanted.type AND e.reference = wanted.reference
