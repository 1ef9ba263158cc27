-- A change of one entity that lives on and keeps its address, if it still is at the version that was looked at ($4) and nobody is
-- about to change it. Otherwise no row is returned, and nothing was written: whoever waits for a lock does so before it can be in
-- doubt whether anything was committed.
-- Values that go are looked up by their keys, as in entities.sql.
WITH free AS (
    SELECT ctid FROM entities WHERE tenant = $1 AND type = $2 AND reference = $3 AND version = $4
    FOR NO KEY UPDATE SKIP LOCKED
), entity AS (
    UPDATE entities AS e
    SET version = $5, updated_at = $6, rules_revision = $7, name_key = $8, properties = $9, provenance = $10, superseded = $11
    FROM free WHERE e.ctid = free.ctid
    RETURNING e.id
), lost AS (
    DELETE FROM entity_values AS v
    USING entity, unnest($12::bigint[]) AS removed (key), LATERAL (
        SELECT ctid FROM entity_values WHERE tenant = $1 AND key = removed.key AND entity = entity.id OFFSET 0
    ) AS found
    WHERE v.ctid = found.ctid
), found_by AS (
    -- A row may be there already: SEARCH_FIELDS that were narrower for a while left it behind when its value went.
    INSERT INTO entity_values (tenant, key, entity)
    SELECT $1, key, entity.id FROM entity, unnest($13::bigint[]) AS added (key)
    ON CONFLICT DO NOTHING
)
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT $1, $2, $3, entity.id, $5, $14, $15, $16 FROM entity
RETURNING id
