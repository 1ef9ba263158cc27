-- First in its transaction: whoever comes with the same key meanwhile waits here for the outcome. RETURNING gives nothing
-- where the key was there.
INSERT INTO idempotency_keys (tenant, route, key, fingerprint, type, reference, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING key
