-- Walks the primary key, so that a walk goes on where it ended whatever was resolved meanwhile.
SELECT type, reference
FROM entities
WHERE tenant = $1 AND (type, reference) > ($2, $3) AND id IS NOT NULL AND rules_revision < $4
ORDER BY type, reference
LIMIT $5
