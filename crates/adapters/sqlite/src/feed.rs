//! The feed. There is one writer, so the number of a row is its place in the order of commits, as soon as it is written.

use std::time::Duration;

use async_trait::async_trait;
use profile_domain::{
    EntityKey, EntityType, FeedChange, FeedPosition, Incarnation, Moment, Reference, TenantId, plan::ChangeKind,
    stored::Malformed,
};
use profile_ports::{Deadline, Detail, Feed, FeedPage, FeedState, Numbered, StoreError};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::{
    SqliteStore,
    error::Failure,
    row::{json, text, version},
};

/// The sequence knows the highest position ever given.
const STATE: &str = "SELECT life, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'feed'), 0),
    (SELECT min(position) - 1 FROM feed) FROM feed_lives";
const AFTER: &str = "SELECT position, tenant, type, reference, version, kind, CASE WHEN ?3 THEN changes END, at FROM feed
WHERE position > ?1 ORDER BY position LIMIT ?2";
const UNREAD: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 - written FROM feed
WHERE position > ?1 ORDER BY position LIMIT 1";
/// From the oldest to the first that is young enough, and so many at most, because everybody who writes waits meanwhile.
const TRIM: &str = "DELETE FROM feed WHERE position IN (
    SELECT position FROM feed
    WHERE position < coalesce((SELECT position FROM feed WHERE written >= ?1 ORDER BY position LIMIT 1), 9223372036854775807)
    ORDER BY position LIMIT 10000)";
const RENEW: &str = "UPDATE feed_lives SET life = randomblob(16)";

#[async_trait]
impl Feed for SqliteStore {
    async fn number_feed(&self, deadline: Deadline) -> Result<Numbered, StoreError> {
        let run = self.run;
        let state = self.readers.take(deadline).await?.read("feed_state", |connection| state(connection, run))?;
        Ok(Numbered { state, complete: true })
    }

    async fn feed_after(
        &self,
        position: FeedPosition,
        limit: usize,
        detail: Detail,
        deadline: Deadline,
    ) -> Result<FeedPage, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let run = self.run;
        self.read_apart("feed_after", deadline, move |connection| {
            // One snapshot for both statements.
            let snapshot = connection.unchecked_transaction()?;
            let state = state(&snapshot, run)?;
            let mut changes = Vec::new();
            if state.covers(position) {
                let mut statement = snapshot.prepare_cached(AFTER)?;
                let mut rows = statement.query((position.0, limit, detail == Detail::Values))?;
                while let Some(row) = rows.next()? {
                    changes.push(change(row)?);
                }
            }
            let last = changes.last().map_or(position, |last: &FeedChange| last.position);
            let unread: Option<i64> = snapshot.prepare_cached(UNREAD)?.query_row([last.0], |row| row.get(0)).optional()?;
            // Below 0 where the clock was set back.
            let unread = unread.map(|micros| Duration::from_micros(micros.try_into().unwrap_or(0)));
            Ok(FeedPage { state, changes, unread })
        })
        .await
    }

    async fn trim_feed(&self, before: Moment, deadline: Deadline) -> Result<FeedState, StoreError> {
        let run = self.run;
        let trim = move |connection: &Connection| {
            connection.prepare_cached(TRIM)?.execute([before.as_micros()])?;
            state(connection, run)
        };
        self.writer.submit(1, deadline, move |connection| Ok::<_, StoreError>(trim(connection)?)).await
    }

    async fn renew_feed(&self, deadline: Deadline) -> Result<(), StoreError> {
        let renew = |connection: &Connection| connection.prepare_cached(RENEW)?.execute([]).map(drop).map_err(Failure::Sql);
        self.writer.submit(1, deadline, move |connection| Ok::<_, StoreError>(renew(connection)?)).await
    }
}

fn state(connection: &Connection, run: u64) -> Result<FeedState, Failure> {
    let mut statement = connection.prepare_cached(STATE)?;
    Ok(statement.query_row([], |row| {
        let head: i64 = row.get(1)?;
        let trimmed: Option<i64> = row.get(2)?;
        Ok(FeedState {
            incarnation: Incarnation(u128::from_be_bytes(row.get(0)?)),
            run,
            trimmed: FeedPosition(trimmed.unwrap_or(head)),
            head: FeedPosition(head),
        })
    })?)
}

fn change(row: &Row<'_>) -> Result<FeedChange, Failure> {
    Ok(FeedChange {
        position: FeedPosition(row.get(0)?),
        tenant: TenantId::parse(text(row, 1)?).map_err(|_| Malformed("tenant"))?,
        key: EntityKey { entity_type: EntityType::parse(text(row, 2)?)?, reference: Reference::parse(text(row, 3)?)? },
        version: version(row, 4)?,
        kind: ChangeKind::parse(text(row, 5)?).ok_or(Malformed("kind"))?,
        changes: json(row, 6)?,
        at: Moment::from_micros(row.get(7)?),
    })
}
