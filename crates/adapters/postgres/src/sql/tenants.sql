-- From each tenant straight to the next, instead of over all rows.
WITH RECURSIVE names (tenant) AS (
    (SELECT tenant FROM entities ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT e.tenant FROM entities AS e WHERE e.tenant > names.tenant ORDER BY e.tenant LIMIT 1)
    FROM names
    WHERE names.tenant IS NOT NULL
)
SELECT tenant FROM names WHERE tenant IS NOT NULL ORDER BY tenant
