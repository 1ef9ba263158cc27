-- What belongs to profiles whose lives end: nothing of it stays but that it was.
UPDATE tasks
SET payload = NULL, unique_key = NULL,
    cancelling = cancelling OR status IN ('scheduled', 'queued', 'retrying', 'running'),
    ended_at = CASE WHEN status IN ('scheduled', 'queued', 'retrying') THEN clock_timestamp() + $3 * interval '1 microsecond'
        ELSE ended_at END,
    status = CASE WHEN status IN ('scheduled', 'queued', 'retrying') THEN 'cancelled' ELSE status END
WHERE tenant = $1 AND profile = ANY ($2) AND payload IS NOT NULL
