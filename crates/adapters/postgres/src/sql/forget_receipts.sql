UPDATE idempotency_keys AS i
SET receipt = NULL
FROM unnest($2::text[], $3::text[]) AS ended (type, reference)
WHERE i.tenant = $1 AND i.type = ended.type AND i.reference = ended.reference AND i.receipt IS NOT NULL
