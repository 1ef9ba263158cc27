-- Those to be released and those to be taken in one sorted pass, or crossing changes of address would deadlock.
SELECT email_key, reference
FROM profile_emails
WHERE tenant = $1 AND email_key = ANY ($2)
ORDER BY email_key
FOR UPDATE
