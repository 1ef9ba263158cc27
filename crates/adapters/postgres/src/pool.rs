//! Connections: made on the runtime given, whoever asks for them, and returned only when they are known to be sound.
//!
//! **No session state.** Timeouts are set with `SET LOCAL` inside transactions, locks last for a transaction, and no start-up
//! option is sent but the application's name. So a pooler in transaction mode may stand in between. Single statements outside
//! a transaction are therefore bounded by the client alone: at the deadline the statement is cancelled and its connection
//! closed. (A role may be given a `statement_timeout` of its own.)
//!
//! **No reuse by default.** A [`Lease`] closes its connection when it is dropped, unless [`Lease::keep`] says that nothing is
//! in flight and no transaction open. So whatever drops a future half-way, a timeout or a panic, leaves no connection in a
//! transaction and hands none on.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{Object, PoolError},
};
use futures_util::future::{Either, select, try_join, try_join_all, try_join3};
use profile_domain::Place;
use profile_ports::{Deadline, StoreError};
use secrecy::ExposeSecret as _;
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{
    Client, Config, Error, Row,
    types::{PgLsn, ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    connector::{Backend, Connections, Connector, To},
    error::{described, leaves_connection_sound, too_late, trouble},
    lanes::Lanes,
    metrics::{Metrics, PoolGauges, SuccessionGauges},
    server::Server,
    settings::{Address, Settings, SettingsError},
    statement::{Statement, as_written, durably},
    succession::Succession,
    tls,
};

/// How far everything is that was committed before it.
static FLUSHED: Statement = Statement::new("flushed", "SELECT pg_current_wal_flush_lsn() AS position", &[]);

/// How long what is known to be committed waits for its place.
const PLACED_WITHIN: Duration = Duration::from_millis(50);

/// How long a statement that nobody waits for any more may hold its connection until it is cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);

/// What holds in a transaction that writes.
///
/// Its plans are made once, and kept for as long as the connection: that is why they may not scan, which is cheapest while tables
/// are small, and ruinous when they have grown.
pub(crate) static LIMITS: Statement = Statement::new(
    "limits",
    concat!(
        "SELECT set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $1, true),
            set_config('lock_timeout', $2, true), set_config('jit', 'off', true),
            set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true), ",
        durably!()
    ),
    &[Type::TEXT, Type::TEXT],
);

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The pool with what a statement needs beside a connection.
#[derive(Clone)]
pub(crate) struct Pool {
    connections: Connections,
    /// One, for whoever follows the feed: caches aren't believed while that waits, so it doesn't stand in line with requests. The same
    /// as the others where there are too few.
    following: Connections,
    lanes: Arc<Lanes>,
    succession: Arc<Succession>,
    tls: MakeRustlsConnect,
    runtime: Handle,
    metrics: Metrics,
    prepared: bool,
    /// Whether commits say how far they went: where there are replicas.
    placed: bool,
}

/// A connection for one caller.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// Always there until the lease ends.
    object: Option<Object<Connector>>,
    /// Whether something is in flight that nobody waits for any more.
    busy: AtomicBool,
}

impl Pool {
    pub(crate) fn new(settings: &Settings, runtime: Handle, registry: &prometheus::Registry) -> Result<Self, SettingsError> {
        if settings.pool_size == 0 {
            return Err(SettingsError::EmptyPool);
        }
        let base = config(settings);
        let tls = tls::connector(settings)?;
        let first = Address { host: settings.host.clone(), port: settings.port };
        let hosts = std::iter::once(&first).chain(&settings.others).map(|address| Server::new(address, &base)).collect();
        let succession = Arc::new(Succession::new(hosts, settings.timelines.clone()));
        // A pooler that doesn't follow statements may not follow several in flight either.
        let shared = if settings.prepared { settings.pool_size } else { 0 };
        let lanes = Lanes::new(Arc::clone(&succession), tls.clone(), runtime.clone(), shared);
        let build = |size| {
            let to = To::Primary(Arc::clone(&succession));
            connections(Connector { to, tls: tls.clone(), runtime: runtime.clone() }, size, settings)
        };
        let left = settings.pool_size - lanes.size();
        // Not of two, lest an export take the only one that is left.
        let (connections, following) = if left > 2 {
            (build(left - 1)?, build(1)?)
        } else {
            let connections = build(left)?;
            (connections.clone(), connections)
        };
        let metrics = Metrics::register(registry)?;
        PoolGauges::register(connections.clone(), Arc::clone(&lanes), registry)?;
        SuccessionGauges::register(Arc::clone(&succession), registry)?;
        let placed = !settings.replicas.is_empty();
        Ok(Self { connections, following, lanes, succession, tls, runtime, metrics, prepared: settings.prepared, placed })
    }

    /// One with connections to a replica.
    pub(crate) fn of_replica(&self, address: &Address, settings: &Settings) -> Result<Self, SettingsError> {
        let server = Arc::new(Server::new(address, &config(settings)));
        let connector = Connector { to: To::Replica(server), tls: self.tls.clone(), runtime: self.runtime.clone() };
        let connections = connections(connector, settings.pool_size, settings)?;
        Ok(Self { following: connections.clone(), connections, ..self.clone() })
    }

    /// A connection, as soon as there is one. Bounded by the caller.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        self.lease_of(&self.connections).await
    }

    /// The connection that follows the feed.
    pub(crate) async fn lease_following(&self) -> Result<Lease<'_>, StoreError> {
        self.lease_of(&self.following).await
    }

    async fn lease_of(&self, connections: &Connections) -> Result<Lease<'_>, StoreError> {
        let object = connections.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            error => StoreError::Unavailable(error.to_string().into()),
        })?;
        Ok(Lease { pool: self, object: Some(object), busy: AtomicBool::new(false) })
    }

    /// Runs one statement by itself, within the deadline. It is run again on another connection where the one it got turned
    /// out to be closed, so it must do no harm when run twice.
    pub(crate) async fn run(
        &self,
        statement: &Statement,
        params: Params<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        bounded(deadline, async {
            for _ in 0..self.in_turn() {
                let lease = self.lease().await?;
                match lease.query(statement, params).await {
                    Err(error) if error.is_closed() => {}
                    result => return lease.end(result),
                }
            }
            Err(StoreError::Unavailable("every connection was closed by the server".into()))
        })
        .await
    }

    /// Runs a statement of the feed, which reads. As [`Self::run`], but planned once and not compiled: the planner knows nothing of
    /// how few changes there are between two snapshots, expects millions, and would compile for seconds.
    pub(crate) async fn follow(
        &self,
        statement: &Statement,
        params: Params<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        bounded(deadline, async {
            // The one that waits may be of before a restart of the server; the next is new.
            let mut last = None;
            for _ in 0..2 {
                let lease = self.lease_following().await?;
                let answered = async {
                    lease.prepare(&[statement]).await?;
                    let begin = lease.batch("begin", concat!("BEGIN READ ONLY; ", as_written!()));
                    let (query, commit) = (lease.query(statement, params), lease.batch("commit", "COMMIT"));
                    try_join3(begin, query, commit).await
                };
                match answered.await {
                    Ok(((), rows, ())) => {
                        lease.keep();
                        return Ok(rows);
                    }
                    Err(error) if error.is_closed() => last = Some(error),
                    Err(error) => return Err(trouble(error).into()),
                }
            }
            Err(StoreError::Unavailable(last.map_or_else(too_late, described)))
        })
        .await
    }

    /// Reads one row, or few, within the deadline, on a connection that others may share.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        params: Params<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        let started = Instant::now();
        match bounded(deadline, async { Ok(self.lanes.query(statement, params).await) }).await? {
            Some(rows) => {
                self.metrics.observe(statement.name, started.elapsed());
                Ok(rows)
            }
            None => self.run(statement, params, deadline).await,
        }
    }

    /// Lets nobody in any more, and closes what is idle.
    pub(crate) fn close(&self) {
        self.lanes.close();
        self.connections.close();
        self.following.close();
    }

    /// How many connections callers take in turn.
    pub(crate) fn in_turn(&self) -> usize {
        self.connections.status().max_size
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn succession(&self) -> &Arc<Succession> {
        &self.succession
    }

    pub(crate) fn tls(&self) -> &MakeRustlsConnect {
        &self.tls
    }
}

/// How every server is spoken to.
pub(crate) fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    config
        .user(&settings.user)
        .dbname(&settings.database)
        .application_name(&settings.application_name)
        .ssl_mode(tls::mode(settings.tls))
        .connect_timeout(settings.connect_timeout)
        // A peer that vanished is noticed after these; a caller has given up long before.
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(10));
    if let Some(password) = &settings.password {
        config.password(password.expose_secret());
    }
    config
}

fn connections(connector: Connector, size: usize, settings: &Settings) -> Result<Connections, SettingsError> {
    let pool = Connections::builder(connector).max_size(size).runtime(Runtime::Tokio1);
    let pool = pool.create_timeout(Some(settings.connect_timeout)).build();
    Ok(pool.map_err(|error| prometheus::Error::Msg(error.to_string()))?)
}

/// Gives up at the deadline. The future is dropped then, and with it the lease of a connection that is busy.
pub(crate) async fn bounded<T>(deadline: Deadline, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(deadline.remaining(), work).await.unwrap_or_else(|_| Err(StoreError::Unavailable(too_late())))
}

impl Lease<'_> {
    /// Prepares what isn't yet, so that the statements that follow are sent in the order in which they are first polled.
    pub(crate) async fn prepare(&self, statements: &[&Statement]) -> Result<(), Error> {
        if self.pool.prepared {
            let object = self.object();
            try_join_all(statements.iter().map(|statement| object.prepare_typed_cached(statement.sql, statement.types))).await?;
        }
        Ok(())
    }

    /// Runs a statement. Of futures polled one after the other the statements are sent in that order, without waiting.
    pub(crate) async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let started = Instant::now();
        let object = self.object();
        let result = if self.pool.prepared {
            let prepared = object.prepare_typed_cached(statement.sql, statement.types).await?;
            object.query(&prepared, params).await
        } else {
            let typed: Vec<_> = params.iter().copied().zip(statement.types.iter().cloned()).collect();
            object.query_typed(statement.sql, &typed).await
        };
        self.pool.metrics.observe(statement.name, started.elapsed());
        result
    }

    /// What [`Self::placed`] needs, for [`Self::prepare`].
    pub(crate) fn placing(&self) -> &'static [&'static Statement] {
        static FLUSHED_ALONE: [&Statement; 1] = [&FLUSHED];
        if self.pool.placed { &FLUSHED_ALONE } else { &[] }
    }

    /// Commits, and asks along with it how far the server has flushed behind it. `None` where nobody needs to know, or it isn't to be
    /// had soon, which takes nothing back.
    pub(crate) async fn placed<T>(
        &self,
        commit: Pin<&mut impl Future<Output = Result<T, Error>>>,
        deadline: Deadline,
    ) -> Result<(T, Option<Place>), Error> {
        // Who waits until the deadline is told before it what is known.
        let within = move || PLACED_WITHIN.min(deadline.remaining() / 2);
        let (committed, place) = with_place(commit, pin!(self.place()), within).await?;
        if place.is_none() {
            self.busy.store(true, Ordering::Relaxed);
        }
        Ok((committed, place.flatten()))
    }

    /// Polled after a commit, it is sent behind it, and tells of it.
    async fn place(&self) -> Option<Place> {
        if !self.pool.placed {
            return None;
        }
        let rows = self.query(&FLUSHED, &[]).await.ok()?;
        let position: PgLsn = rows.first()?.try_get("position").ok()?;
        Some(Place { timeline: self.object().reign?.timeline, position: position.into() })
    }

    /// Whether its server still takes the writes, as far as anybody here knows: to be asked right before what commits.
    pub(crate) fn reigns(&self) -> Result<(), StoreError> {
        match self.object().reign {
            Some(reign) if !self.pool.succession.is_current(reign) => {
                Err(StoreError::Unavailable("the server was replaced by another one".into()))
            }
            _ => Ok(()),
        }
    }

    /// Runs a statement that isn't worth preparing, in one round trip.
    pub(crate) async fn query_once(
        &self,
        name: &str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        let started = Instant::now();
        let result = self.object().query_typed(sql, params).await;
        self.pool.metrics.observe(name, started.elapsed());
        result
    }

    /// Runs statements without parameters, as text.
    pub(crate) async fn batch(&self, name: &str, sql: &str) -> Result<(), Error> {
        let started = Instant::now();
        let result = self.object().batch_execute(sql).await;
        self.pool.metrics.observe(name, started.elapsed());
        result
    }

    /// Begins a transaction that is on the disk once it is committed. The server gives up its statements and locks by itself when
    /// the deadline has passed: a belt for when this process or the network is gone. Where statements are sent right behind it,
    /// [`LIMITS`] must be prepared.
    pub(crate) async fn begin(&self, deadline: Deadline) -> Result<(), Error> {
        let left = deadline.remaining().as_millis().clamp(1, 3_600_000);
        // Earlier than the deadline, so that there is time to say who was in the way.
        let (lock, left) = ((left * 4 / 5).max(1).to_string(), left.to_string());
        let limits: [&(dyn ToSql + Sync); 2] = [&left, &lock];
        let begin = self.batch("begin", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
        try_join(begin, self.query(&LIMITS, &limits)).await.map(drop)
    }

    /// Ends an open transaction by undoing it, and returns the connection.
    pub(crate) async fn roll_back(self) {
        if self.batch("rollback", "ROLLBACK").await.is_ok() {
            self.keep();
        }
    }

    /// Returns the connection to the pool: nothing that anybody waits for is in flight on it, and no transaction open.
    pub(crate) fn keep(mut self) {
        if !self.busy.load(Ordering::Relaxed) {
            drop(self.object.take());
        }
    }

    /// Ends the use of a connection for single statements with the result of the last.
    pub(crate) fn end<T>(self, result: Result<T, Error>) -> Result<T, StoreError> {
        if result.as_ref().err().is_none_or(leaves_connection_sound) {
            self.keep();
        }
        result.map_err(|error| trouble(error).into())
    }

    fn object(&self) -> &Backend {
        #[expect(clippy::expect_used, reason = "taken only by what consumes the lease")]
        self.object.as_ref().expect("a lease has its connection until it ends")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        let client = Object::take(object);
        if client.is_closed() {
            return;
        }
        // A server that works on a statement, or waits for a lock, doesn't notice that the connection is closed.
        let tls = self.pool.tls.clone();
        self.pool.runtime.spawn(async move { cancel(&client, tls).await });
    }
}

/// Polls a commit and, behind it, the question for its place, whose answer is waited for only so long once it is committed: `None` where
/// it didn't come.
async fn with_place<T, E, P>(
    commit: Pin<&mut impl Future<Output = Result<T, E>>>,
    place: Pin<&mut impl Future<Output = P>>,
    within: impl FnOnce() -> Duration,
) -> Result<(T, Option<P>), E> {
    match select(commit, place).await {
        Either::Left((committed, place)) => {
            let committed = committed?;
            Ok((committed, timeout(within(), place).await.ok()))
        }
        Either::Right((place, commit)) => Ok((commit.await?, Some(place))),
    }
}

/// Tells the server that nobody waits any more for the statement that a connection runs.
pub(crate) async fn cancel(client: &Client, tls: MakeRustlsConnect) {
    if !matches!(timeout(CANCEL_WITHIN, client.cancel_token().cancel_query(tls)).await, Ok(Ok(()))) {
        tracing::debug!("a statement that nobody waits for could not be cancelled");
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_is_committed_is_told_though_its_place_is_not_to_be_had() {
        let within = || Duration::from_millis(1);
        assert_eq!(with_place(pin!(ready(Ok::<_, ()>(7))), pin!(pending::<()>()), within).await, Ok((7, None)));
        assert_eq!(with_place(pin!(ready(Ok::<_, ()>(7))), pin!(ready(8)), within).await, Ok((7, Some(8))));
        assert_eq!(with_place(pin!(ready(Err::<(), _>(9))), pin!(pending::<()>()), within).await, Err(9));
    }
}
