-- Fails while nobody has migrated at all, for want of the table.
SELECT coalesce(max(version), 0) AS version, current_setting('transaction_read_only')::boolean AS read_only,
    current_setting('fsync')::boolean AS syncs
FROM refinery_schema_history
