SELECT email_key, reference
FROM profile_emails
WHERE tenant = $1 AND email_key = ANY ($2)
