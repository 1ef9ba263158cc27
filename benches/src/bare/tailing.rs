//! What two instances do beside commits: every 50 ms each tries a round of the feed and reads what follows. The statements are
//! the service's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{runtime, task::JoinSet, time};
use tokio_postgres::{Client, NoTls, types::Type};

use crate::processes::Database;

const STATE: &str = include_str!("../../../crates/adapters/postgres/src/sql/feed_state.sql");
const ROUND: &str = include_str!("../../../crates/adapters/postgres/src/sql/feed_round.sql");
const AFTER: &str = include_str!("../../../crates/adapters/postgres/src/sql/feed_after.sql");
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 1000; SET LOCAL idle_in_transaction_session_timeout = '1s';
    SELECT set_config('synchronous_commit', 'on', true)";
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(1717920100)";

const INSTANCES: usize = 2;
const EVERY: Duration = Duration::from_millis(50);
const PAGE: i64 = 1_000;

/// Instances that follow a feed while some work is done.
pub(crate) struct Tailing {
    ended: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Tailing {
    /// Begins at the head, once everything that is there was numbered.
    pub(crate) fn start(database: &Database) -> Self {
        let (ended, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (url, end, count) = (database.url(), Arc::clone(&ended), Arc::clone(&read));
        let thread = thread::spawn(move || {
            runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let mut instances = JoinSet::new();
                for _ in 0..INSTANCES {
                    instances.spawn(follow(url.clone(), Arc::clone(&end), Arc::clone(&count)));
                }
                while let Some(instance) = instances.join_next().await {
                    instance??;
                }
                Ok(())
            })
        });
        Self { ended, read, thread }
    }

    /// Ends them when they have read all there is, which must be something.
    pub(crate) fn end(self) -> Result<()> {
        self.ended.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("who follows the feed panicked"))??;
        let read = self.read.load(Ordering::Acquire);
        ensure!(read > 0, "nothing was read from the feed");
        eprintln!("    {read:>9} changes read from the feed");
        Ok(())
    }
}

async fn follow(url: String, ended: Arc<AtomicBool>, read: Arc<AtomicU64>) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let (state, round) = (client.prepare(STATE).await?, client.prepare_typed(ROUND, &[Type::INT8]).await?);
    let after = client.prepare_typed(AFTER, &[Type::INT8, Type::INT8]).await?;
    let lock = client.prepare(LOCK).await?;
    let mut position: Option<i64> = None;
    let mut ticks = time::interval(EVERY);
    loop {
        ticks.tick().await;
        let last = ended.load(Ordering::Acquire);
        let unnumbered: bool = client.query_one(&state, &[]).await?.try_get("unnumbered")?;
        if unnumbered {
            client.batch_execute(BEGIN).await?;
            if client.query_one(&lock, &[]).await?.try_get(0)? {
                client.execute(&round, &[&10_000_i64]).await?;
            }
            client.batch_execute("COMMIT").await?;
        }
        let mut at = match position {
            Some(position) => position,
            None => client.query_one(&state, &[]).await?.try_get("head")?,
        };
        loop {
            let (last, is_all) = page(&client, &after, at).await?;
            read.fetch_add(last.abs_diff(at), Ordering::AcqRel);
            // Of what has no position yet, others are giving it one.
            let is_over = is_all || last == at;
            at = last;
            if is_over {
                break;
            }
        }
        position = Some(at);
        if last {
            return Ok(());
        }
    }
}

/// Reads what follows, and gives the position of the last, and whether nothing follows that.
async fn page(client: &Client, after: &tokio_postgres::Statement, position: i64) -> Result<(i64, bool)> {
    let rows = client.query(after, &[&position, &PAGE]).await?;
    let last = rows.last().context("the feed has no state")?;
    let is_all = last.try_get::<_, Option<i64>>("unread")?.is_none();
    Ok((last.try_get::<_, Option<i64>>("position")?.unwrap_or(position), is_all))
}
