-- Each is looked up by its key, as in entities.sql.
SELECT e.*
FROM unnest($2::text[]) AS wanted (email_key)
CROSS JOIN LATERAL (
    SELECT email_key, reference FROM profile_emails WHERE tenant = $1 AND email_key = wanted.email_key OFFSET 0
) AS e
