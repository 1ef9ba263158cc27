//! The feed, numbered in rounds.
//!
//! Ids and transaction numbers of rows are given before their transactions commit, so neither is the order of commits: a reader
//! who has seen a higher one may find a lower one later. A snapshot divides what is committed from what isn't. So each round
//! keeps the snapshot that it saw; whatever that sees and the one before didn't is of this round, for good. A transaction that
//! is open for long, of whatever database, holds up nothing but its own changes.
//!
//! Rounds exclude each other by an advisory lock that ends with their transaction, and that ends within
//! [`STUCK_AFTER`] where its client is stopped or cut off between two statements.
//!
//! All of it rests on the transaction numbers of one database. Where a dump or a copy brings the tables into another, that is
//! noticed (`feed_identity`), and the first round forgets what came and begins a new feed.

use std::time::Duration;

use async_trait::async_trait;
use profile_domain::{FeedChange, FeedPosition, Incarnation, Moment, TenantId, plan::ChangeKind};
use profile_ports::{Deadline, Feed, FeedPage, FeedState, Numbered, StoreError};
use tokio_postgres::{
    Error, Row,
    types::{Json, Type},
};

use crate::{
    PostgresStore,
    error::{leaves_connection_sound, trouble},
    pool::{Lease, bounded},
    row::{corrupt, get, key, moment, version},
    statement::{Statement, as_written, durably},
};

static STATE: Statement = Statement::new("feed_state", include_str!("sql/feed_state.sql"), &[]);
static LOCK: Statement = Statement::new("feed_lock", "SELECT pg_try_advisory_xact_lock($1) AS locked", &[Type::INT8]);
static ROUND: Statement = Statement::new("feed_round", include_str!("sql/feed_round.sql"), &[Type::INT8]);
static AFTER: Statement = Statement::new("feed_after", include_str!("sql/feed_after.sql"), &[Type::INT8, Type::INT8]);
static TRIM: Statement = Statement::new("feed_trim", include_str!("sql/trim_feed.sql"), &[Type::TIMESTAMPTZ, Type::INT8]);
static FORGET: Statement = Statement::new(
    "feed_forget",
    "WITH gone AS (DELETE FROM feed WHERE ctid = ANY (ARRAY(SELECT ctid FROM feed LIMIT $1)) RETURNING 1)
     SELECT count(*) AS gone FROM gone",
    &[Type::INT8],
);
static RENEW: Statement =
    Statement::new("feed_renew", concat!("UPDATE feed_lives SET life = gen_random_uuid() RETURNING ", durably!()), &[]);
const BEGIN_ANEW: &str = "DELETE FROM feed_rounds; DELETE FROM feed_lives;
    INSERT INTO feed_lives SELECT database, gen_random_uuid() FROM feed_identity";

/// Of one database, as all advisory locks are: "feed" and "trim" in ASCII.
const NUMBERING: i64 = 0x6665_6564;
const TRIMMING: i64 = 0x7472_696d;
/// How long a transaction with one of these may idle between two statements before the server ends it.
const STUCK_AFTER: &str = "1s";
/// The most changes of one round, and of what is trimmed at a time: a few hundredths of a second.
const ROUND_SIZE: i64 = 10_000;

#[async_trait]
impl Feed for PostgresStore {
    async fn number_feed(&self, deadline: Deadline) -> Result<Numbered, StoreError> {
        let before = Look::of(&self.pool.follow(&STATE, &[], deadline).await?)?;
        if !before.unnumbered {
            return Ok(Numbered { state: before.state, complete: true });
        }
        let numbered = self.in_turn(NUMBERING, deadline, async |lease| number(lease, &before).await).await?;
        let after = Look::of(&self.pool.follow(&STATE, &[], deadline).await?)?;
        Ok(Numbered { state: after.state, complete: numbered.unwrap_or(!after.unnumbered) })
    }

    async fn feed_after(&self, position: FeedPosition, limit: usize, deadline: Deadline) -> Result<FeedPage, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // Nothing can follow the last position there is, but the statement looks for what would.
        let after = position.0.min(i64::MAX - 1);
        let rows = self.pool.follow(&AFTER, &[&after, &limit], deadline).await?;
        let first = first(&rows)?;
        let unread: Option<i64> = get(first, "unread")?;
        Ok(FeedPage {
            state: state(first)?,
            changes: rows.iter().filter_map(|row| change(row).transpose()).collect::<Result<_, _>>()?,
            // Below 0 where the server's clock was set back.
            unread: unread.map(|micros| Duration::from_micros(micros.try_into().unwrap_or(0))),
        })
    }

    async fn trim_feed(&self, before: Moment, deadline: Deadline) -> Result<FeedState, StoreError> {
        let before = jiff::Timestamp::from(before);
        self.in_turn(TRIMMING, deadline, async |lease| lease.query(&TRIM, &[&before, &ROUND_SIZE]).await.map(drop)).await?;
        Ok(Look::of(&self.pool.follow(&STATE, &[], deadline).await?)?.state)
    }

    async fn renew_feed(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.pool.run(&RENEW, &[], deadline).await.map(drop)
    }
}

/// The feed at one moment.
struct Look {
    state: FeedState,
    /// Whether its transaction numbers are of this database.
    is_ours: bool,
    /// Whether a change has no position.
    unnumbered: bool,
}

impl Look {
    fn of(rows: &[Row]) -> Result<Self, StoreError> {
        let row = first(rows)?;
        Ok(Self { state: state(row)?, is_ours: get(row, "is_ours")?, unnumbered: get(row, "unnumbered")? })
    }
}

impl PostgresStore {
    /// Does something while nobody else does the like. Otherwise nothing is done, and this gives `None`.
    async fn in_turn<T>(
        &self,
        turn: i64,
        deadline: Deadline,
        work: impl AsyncFnOnce(&Lease<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, StoreError> {
        bounded(deadline, async {
            let lease = if turn == NUMBERING { self.pool.lease_following().await? } else { self.pool.lease().await? };
            let done = async {
                let done = if take_turn(&lease, turn, deadline).await? { Some(work(&lease).await?) } else { None };
                lease.batch("commit", "COMMIT").await?;
                Ok(done)
            };
            match done.await {
                Ok(done) => {
                    lease.keep();
                    Ok(done)
                }
                Err(error) => {
                    if leaves_connection_sound(&error) {
                        lease.roll_back().await;
                    }
                    Err(trouble(error).into())
                }
            }
        })
        .await
    }
}

/// Begins a transaction whose turn it is, if so, and keeps what it does through a crash: a position that was read must not be
/// given to another change.
async fn take_turn(lease: &Lease<'_>, turn: i64, deadline: Deadline) -> Result<bool, Error> {
    let left = deadline.remaining().as_millis().clamp(1, 60_000);
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = {left};
        SET LOCAL idle_in_transaction_session_timeout = '{STUCK_AFTER}'; {}; SELECT {}",
        as_written!(),
        durably!()
    );
    lease.batch("begin", &begin).await?;
    let rows = lease.query(&LOCK, &[&turn]).await?;
    Ok(rows.first().is_some_and(|row| row.try_get("locked").unwrap_or(false)))
}

/// Gives whether everything has a position.
async fn number(lease: &Lease<'_>, look: &Look) -> Result<bool, Error> {
    // Unless somebody else was quicker.
    if !look.is_ours && !Look::of(&lease.query(&STATE, &[]).await?).is_ok_and(|now| now.is_ours) && !begin_anew(lease).await? {
        return Ok(false);
    }
    lease.query(&ROUND, &[&ROUND_SIZE]).await?;
    Ok(true)
}

/// Forgets changes that came from another database, and those made here since, before which every reader begins anew. Gives
/// whether all were.
async fn begin_anew(lease: &Lease<'_>) -> Result<bool, Error> {
    let most = 5 * ROUND_SIZE;
    let gone: i64 = lease.query(&FORGET, &[&most]).await?.first().map_or(Ok(0), |row| row.try_get("gone"))?;
    if gone < most {
        lease.batch("feed_begin_anew", BEGIN_ANEW).await?;
    }
    Ok(gone < most)
}

fn first(rows: &[Row]) -> Result<&Row, StoreError> {
    rows.first().ok_or_else(|| corrupt("the feed has no state"))
}

fn state(row: &Row) -> Result<FeedState, StoreError> {
    let incarnation: &[u8] = get(row, "incarnation")?;
    Ok(FeedState {
        incarnation: Incarnation(u128::from_be_bytes(incarnation.try_into().map_err(corrupt)?)),
        trimmed: FeedPosition(get(row, "trimmed")?),
        head: FeedPosition(get(row, "head")?),
    })
}

/// `None` where there is only the state.
fn change(row: &Row) -> Result<Option<FeedChange>, StoreError> {
    let Some(position) = get::<Option<i64>>(row, "position")? else { return Ok(None) };
    let changes: Option<Json<_>> = get(row, "changes")?;
    Ok(Some(FeedChange {
        position: FeedPosition(position),
        tenant: TenantId::parse(get(row, "tenant")?).map_err(corrupt)?,
        key: key(row)?,
        version: version(row)?,
        kind: ChangeKind::parse(get(row, "kind")?).ok_or_else(|| corrupt("a change of an unknown kind"))?,
        changes: changes.map(|Json(changes)| changes),
        at: moment(row, "at")?,
    }))
}
