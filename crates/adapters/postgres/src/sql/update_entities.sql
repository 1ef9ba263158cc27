-- These rows are locked and were read under the lock, so the new state is simply written. Each is looked up by its key, as in
-- entities.sql.
UPDATE entities AS e
SET id = n.id, version = n.version, created_at = n.created_at, updated_at = n.updated_at, deleted_at = n.deleted_at,
    rules_revision = n.rules_revision, name_key = n.name_key, properties = n.properties, provenance = n.provenance,
    superseded = n.superseded
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
    $9::integer[], $10::text[], $11::json[], $12::json[], $13::json[])
    AS n (type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, name_key, properties, provenance,
        superseded)
CROSS JOIN LATERAL (
    SELECT ctid FROM entities WHERE tenant = $1 AND type = n.type AND reference = n.reference OFFSET 0
) AS found
WHERE e.ctid = found.ctid
