//! Exports: all entities of a type as of one moment, by a transaction that lasts for as long as they are read.
//!
//! Each has a connection and a task of its own on the runtime of the connections, which fetches the next batch while the last
//! is being read and waits once that is ready. It ends when the reader has all, goes away, or takes nothing for
//! [`READER_WITHIN`]: then the transaction is ended before the connection is given back, and a connection on which something is
//! in flight is closed.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use profile_domain::{Entity, EntityKey, EntityType, TenantId};
use profile_ports::{Deadline, EntityStream, StoreError};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_postgres::{Row, types::Type};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    error::{too_late, unavailable},
    pool::{Lease, Pool, bounded},
    row::{entity, key},
};

/// How long an export waits for its reader to take what is ready.
const READER_WITHIN: Duration = Duration::from_mins(5);
/// How long one step may take on the server.
const STEP_WITHIN: Duration = Duration::from_mins(1);
/// Rows that are fetched at a time, at most; fewer where they are so large that they would exceed the bytes.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// One snapshot for all statements. No timeout is for the whole; the server's are a belt for when this process or the network
/// is gone: one for each step, and one for the wait between two, a little longer than the reader is given.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '60s';
    SET LOCAL idle_in_transaction_session_timeout = '330s'";
const LIVING: &str = include_str!("sql/export_living.sql");
const TOMBSTONES: &str = include_str!("sql/export_tombstones.sql");

/// Which exports run.
pub(crate) struct Exports {
    /// Each holds a connection, and the pool must have others.
    permits: Arc<Semaphore>,
    most: usize,
    closed: CancellationToken,
}

/// What is handed over: entities, or none to say that these were all.
type Batch = Result<Vec<(EntityKey, Entity)>, StoreError>;

/// Why an export stopped before its end.
enum Stop {
    /// Nobody reads it any more. Nothing is in flight.
    Unread,
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Exports {
    /// At most a quarter of all connections may be exporting, and never all of those `in_turn` that exports are among.
    pub(crate) fn new(pool_size: usize, in_turn: usize) -> Self {
        let most = (pool_size / 4).max(1).min(in_turn.saturating_sub(1));
        Self { permits: Arc::new(Semaphore::new(most)), most, closed: CancellationToken::new() }
    }

    /// Ends what runs, and lets none begin any more.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.closed.cancel();
    }

    pub(crate) async fn begin(
        &self,
        pool: &Pool,
        tenant: &TenantId,
        entity_type: &EntityType,
        deadline: Deadline,
    ) -> Result<EntityStream, StoreError> {
        if self.most == 0 {
            let reason = "an export needs a connection that nothing else waits for: raise the size of the pool to 3 or more";
            return Err(StoreError::Unavailable(reason.into()));
        }
        let permit = timeout(deadline.remaining(), Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| StoreError::Unavailable("too many exports were running until the deadline".into()))?
            .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        let (batches, received) = mpsc::channel(1);
        let (begun, beginning) = oneshot::channel();
        let (pool, closed) = (pool.clone(), self.closed.clone());
        let (tenant, entity_type) = (tenant.clone(), entity_type.clone());
        let runtime = pool.runtime().clone();
        let work = async move {
            let _permit = permit;
            let export = run(&pool, &tenant, &entity_type, deadline, begun, &batches);
            tokio::select! {
                // Whatever is in flight is dropped, and its connection closed.
                () = batches.closed() => {}
                () = closed.cancelled() => {}
                () = export => {}
            }
        };
        runtime.spawn(work.in_current_span());
        bounded(deadline, async {
            beginning.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the export did not begin".into())))
        })
        .await?;
        Ok(entities(received))
    }
}

/// A channel that breaks off before the empty batch broke off the export, too, and must not look like its end.
fn entities(received: mpsc::Receiver<Batch>) -> EntityStream {
    let batches = stream::try_unfold(received, |mut received| async move {
        match received.recv().await {
            Some(Ok(batch)) if batch.is_empty() => Ok(None),
            Some(Ok(batch)) => Ok(Some((stream::iter(batch).map(Ok), received))),
            Some(Err(error)) => Err(error),
            None => Err(StoreError::Unavailable("the export broke off: nobody read it for too long, or the store closed".into())),
        }
    });
    batches.try_flatten().boxed()
}

async fn run(
    pool: &Pool,
    tenant: &TenantId,
    entity_type: &EntityType,
    deadline: Deadline,
    begun: oneshot::Sender<Result<(), StoreError>>,
    batches: &mpsc::Sender<Batch>,
) {
    let lease = match bounded(deadline, start(pool, tenant, entity_type)).await {
        Ok(lease) => lease,
        Err(error) => {
            // Nobody waits for it any more if this fails.
            let _ = begun.send(Err(error));
            return;
        }
    };
    let wanted = begun.send(Ok(())).is_ok();
    match if wanted { walk(&lease, batches).await } else { Err(Stop::Unread) } {
        Ok(()) | Err(Stop::Unread) => {
            let _ = timeout(STEP_WITHIN, lease.roll_back()).await;
        }
        Err(Stop::Failed(error)) => {
            drop(lease);
            let _ = batches.send_timeout(Err(error), READER_WITHIN).await;
        }
    }
}

/// A connection in a transaction that sees what is there now, whatever is written later: the cursor is a query, and takes the
/// snapshot.
async fn start<'p>(pool: &'p Pool, tenant: &TenantId, entity_type: &EntityType) -> Result<Lease<'p>, StoreError> {
    loop {
        let lease = pool.lease().await?;
        match lease.batch("export_begin", BEGIN).await {
            // One that the server closed while it was idle. The pool makes a new one in the end, or says why it can't.
            Err(error) if error.is_closed() => continue,
            result => result.map_err(unavailable)?,
        }
        for sql in [LIVING, TOMBSTONES] {
            let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&tenant.as_str(), Type::TEXT), (&entity_type.as_str(), Type::TEXT)];
            lease.query_once("export_declare", sql, &params).await.map_err(unavailable)?;
        }
        return Ok(lease);
    }
}

async fn walk(lease: &Lease<'_>, batches: &mpsc::Sender<Batch>) -> Result<(), Stop> {
    for cursor in ["living", "tombstones"] {
        // Few at first, until it is known how large they are.
        let mut size = BATCH / 10;
        loop {
            let rows = fetch(lease, cursor, size).await?;
            let last = rows.len() < size;
            let bytes: usize = rows.iter().map(Row::raw_size_bytes).sum();
            size = (BATCH_BYTES * rows.len() / bytes.max(1)).clamp(1, BATCH);
            if !rows.is_empty() {
                let batch = rows.iter().map(|row| Ok((key(row)?, entity(row)?.0))).collect::<Result<Vec<_>, StoreError>>()?;
                hand_over(batches, batch).await?;
            }
            if last {
                break;
            }
        }
    }
    hand_over(batches, Vec::new()).await
}

async fn fetch(lease: &Lease<'_>, cursor: &str, size: usize) -> Result<Vec<Row>, StoreError> {
    let sql = format!("FETCH {size} FROM {cursor}");
    let rows = timeout(STEP_WITHIN, lease.query_once("export_fetch", &sql, &[])).await;
    rows.map_err(|_| StoreError::Unavailable(too_late()))?.map_err(unavailable)
}

fn hand_over(batches: &mpsc::Sender<Batch>, batch: Vec<(EntityKey, Entity)>) -> impl Future<Output = Result<(), Stop>> {
    let sent = batches.send_timeout(Ok(batch), READER_WITHIN);
    async { sent.await.map_err(|_| Stop::Unread) }
}
