-- Who a server is and how far it has come. Nothing of this needs a table, which a server that nobody has migrated lacks, or a right
-- that PostgreSQL doesn't give to all. A server that is promoted in between may fail here; it is looked at again.
SELECT system_identifier AS servers, recovering,
    CASE WHEN recovering THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END AS timeline,
    CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS position
FROM pg_control_system(), pg_is_in_recovery() AS recovering
