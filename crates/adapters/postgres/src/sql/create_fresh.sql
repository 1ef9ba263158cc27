-- A whole commit in one statement: an entity that nobody else can know yet, so that there is nothing to look up or to lock.
-- If the address is taken, no reservation comes, and without it nothing else: no row is returned. (Not a violation that
-- fails the statement, because the server would write the address to its log.)
WITH reservation AS (
    INSERT INTO profile_emails (tenant, email_key, reference)
    SELECT $1, $12, $3 WHERE $12 IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING email_key
), entity AS (
    INSERT INTO entities (tenant, type, reference, id, version, created_at, updated_at, rules_revision, name_key, properties,
        provenance, superseded)
    SELECT $1, $2, $3, nextval('entity_ids'), $4, $5, $6, $7, $8, $9, $10, $11
    WHERE $12 IS NULL OR EXISTS (SELECT FROM reservation)
    RETURNING id
), found_by AS (
    INSERT INTO entity_values (tenant, key, entity)
    SELECT $1, key, entity.id FROM entity, unnest($13::bigint[]) AS added (key)
)
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT $1, $2, $3, entity.id, $4, $14, $15, $5 FROM entity
RETURNING id
