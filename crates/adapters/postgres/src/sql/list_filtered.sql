-- Walks the rows of the first value, in the order of the key's index, and probes the same index for the others; $5 to $7 are
-- NULL where there are fewer. Scalar subqueries and LIMIT 1 keep the planner to this: what it could flatten it would, with a
-- plan made before the values are known, turn into a join that reads all and sorts. LEFT JOIN, so that a collision of keys
-- across types doesn't make a page look like the last.
SELECT found.entity AS position, e.type, e.reference, e.id, e.version, e.created_at, e.updated_at, e.properties
FROM (
    SELECT v.entity
    FROM entity_values AS v
    WHERE v.tenant = $1 AND v.key = $4 AND v.entity > $3
        AND ($5::bigint IS NULL OR (SELECT true FROM entity_values AS w WHERE w.tenant = $1 AND w.key = $5 AND w.entity = v.entity))
        AND ($6::bigint IS NULL OR (SELECT true FROM entity_values AS w WHERE w.tenant = $1 AND w.key = $6 AND w.entity = v.entity))
        AND ($7::bigint IS NULL OR (SELECT true FROM entity_values AS w WHERE w.tenant = $1 AND w.key = $7 AND w.entity = v.entity))
    ORDER BY v.entity
    LIMIT $8
) AS found
LEFT JOIN LATERAL (
    SELECT type, reference, id, version, created_at, updated_at, properties
    FROM entities
    WHERE tenant = $1 AND type = $2 AND id = found.entity AND id IS NOT NULL
    LIMIT 1
) AS e ON true
ORDER BY found.entity
