-- How far a replica has come, before what follows it on the same connection: whatever is at or before that place is seen by any
-- later statement. Within one statement it would be the other way round, as that takes its snapshot first. Timelines of other servers,
-- from which the rows were brought over, say nothing here.
SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn() AS position,
    (SELECT coalesce(max(timeline), 0) FROM timelines WHERE servers = system_identifier) AS timeline
FROM pg_control_system()
