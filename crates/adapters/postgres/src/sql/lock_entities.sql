-- ORDER BY runs before the locks are taken, so every commit locks in the same order. NO KEY, because nothing refers to an
-- entity by a foreign key. Of a row that another commit changed meanwhile, the newest version is given.
SELECT e.type, e.reference, e.id, e.version, e.created_at, e.updated_at, e.deleted_at, e.rules_revision, e.properties,
    e.provenance, e.superseded
FROM unnest($2::text[], $3::text[]) AS wanted (type, reference)
JOIN entities AS e ON e.tenant = $1 AND e.type = wanted.type AND e.reference = wanted.reference
ORDER BY e.type, e.reference
FOR NO KEY UPDATE OF e
