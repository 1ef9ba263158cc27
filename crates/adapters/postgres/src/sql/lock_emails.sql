-- Those to be released and those to be taken in one pass in the order given, which is sorted, or crossing changes of address would
-- deadlock. Each is looked up by its key, as in entities.sql.
SELECT e.*
FROM unnest($2::text[]) WITH ORDINALITY AS wanted (email_key, place)
CROSS JOIN LATERAL (
    SELECT email_key, reference FROM profile_emails WHERE tenant = $1 AND email_key = wanted.email_key OFFSET 0 FOR UPDATE
) AS e
