-- A whole commit in one statement: an entity that nobody else can know yet, so that there is nothing to look up or to lock.
-- A taken address is a violation of profile_emails_pkey.
WITH entity AS (
    INSERT INTO entities (tenant, type, reference, id, version, created_at, updated_at, rules_revision, name_key, properties,
        provenance, superseded)
    VALUES ($1, $2, $3, nextval('entity_ids'), $4, $5, $6, $7, $8, $9, $10, $11)
    RETURNING id
), reservation AS (
    INSERT INTO profile_emails (tenant, email_key, reference)
    SELECT $1, email_key, $3 FROM unnest($12::text[]) AS taken (email_key)
), found_by AS (
    INSERT INTO entity_values (tenant, key, entity)
    SELECT $1, key, entity.id FROM entity, unnest($13::bigint[]) AS added (key)
)
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT $1, $2, $3, entity.id, $4, $14, $15, $5 FROM entity
