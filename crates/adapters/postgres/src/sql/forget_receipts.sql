-- Each is looked up by its key, as in entities.sql.
UPDATE idempotency_keys AS i
SET receipt = NULL
FROM unnest($2::text[], $3::text[]) AS ended (type, reference)
CROSS JOIN LATERAL (
    SELECT ctid FROM idempotency_keys WHERE tenant = $1 AND type = ended.type AND reference = ended.reference OFFSET 0
) AS found
WHERE i.ctid = found.ctid AND i.receipt IS NOT NULL
