-- In the order given, which is sorted: so every commit locks in the same order. NO KEY, because nothing refers to an entity by a
-- foreign key. Of a row that another commit changed meanwhile, the newest version is given. Each is looked up by its key, as in
-- entities.sql.
SELECT e.*
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (type, reference, place)
CROSS JOIN LATERAL (
    SELECT type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, properties, provenance, superseded
    FROM entities
    WHERE tenant = $1 AND type = wanted.type AND reference = wanted.reference
    OFFSET 0
    FOR NO KEY UPDATE
) AS e
