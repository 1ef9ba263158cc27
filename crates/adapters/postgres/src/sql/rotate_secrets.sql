-- The deletion doesn't see the new row, and keeps the one before it.
WITH added AS (
    INSERT INTO secrets (id, key)
    SELECT coalesce(max(id), 0) + 1, $1 FROM secrets
    RETURNING id
)
DELETE FROM secrets WHERE id < (SELECT id FROM added) - 1
