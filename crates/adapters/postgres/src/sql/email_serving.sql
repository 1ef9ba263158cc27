-- The first two rows of each value behind a position, in the order of the key's index. LATERAL with LIMIT keeps the planner to
-- one short walk for each value. LEFT JOIN, so that a collision of keys across types doesn't look like the end; the value is
-- given, because equal keys don't prove equal values.
SELECT wanted.place, found.entity, e.reference, e.properties ->> 'email' AS email
FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS wanted (key, after, place)
CROSS JOIN LATERAL (
    SELECT v.entity
    FROM entity_values AS v
    WHERE v.tenant = $1 AND v.key = wanted.key AND v.entity > wanted.after
    ORDER BY v.entity
    LIMIT 2
) AS found
LEFT JOIN LATERAL (
    SELECT reference, properties
    FROM entities
    WHERE tenant = $1 AND type = $2 AND id = found.entity AND id IS NOT NULL
    LIMIT 1
) AS e ON true
ORDER BY wanted.place, found.entity
