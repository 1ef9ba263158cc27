-- Sorted by key. Where somebody created one of them since it was looked for, the unique violation undoes the commit, and it
-- is run again.
INSERT INTO entities (tenant, type, reference, id, version, created_at, updated_at, deleted_at, rules_revision, name_key,
    properties, provenance, superseded)
SELECT $1, e.*
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
    $9::integer[], $10::text[], $11::json[], $12::json[], $13::json[]) AS e
