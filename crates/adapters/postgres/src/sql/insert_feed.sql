-- In the order given, after the locks of the entities, so that ids ascend per entity.
INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
SELECT $1, f.type, f.reference, f.entity, f.version, f.kind, f.changes, $8
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::json[]) WITH ORDINALITY
    AS f (type, reference, entity, version, kind, changes, place)
ORDER BY f.place
