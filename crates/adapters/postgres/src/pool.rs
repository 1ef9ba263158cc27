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
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime};
use futures_util::future::{try_join, try_join_all, try_join3};
use profile_ports::{Deadline, StoreError};
use secrecy::ExposeSecret as _;
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, Error, Row,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    error::{described, leaves_connection_sound, too_late, trouble},
    lanes::Lanes,
    metrics::{Metrics, PoolGauges},
    settings::{Settings, SettingsError},
    statement::{Statement, as_written, durably},
    tls,
};

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
    connections: deadpool_postgres::Pool,
    /// One, for whoever follows the feed: caches aren't believed while that waits, so it doesn't stand in line with requests.
    following: deadpool_postgres::Pool,
    lanes: Arc<Lanes>,
    tls: MakeRustlsConnect,
    runtime: Handle,
    metrics: Metrics,
    prepared: bool,
}

/// A connection for one caller.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// Always there until the lease ends.
    object: Option<Object>,
}

impl Pool {
    pub(crate) fn new(settings: &Settings, runtime: Handle, registry: &prometheus::Registry) -> Result<Self, SettingsError> {
        if settings.pool_size == 0 {
            return Err(SettingsError::EmptyPool);
        }
        let mut config = Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
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
        let tls = tls::connector(settings)?;
        let manager = || {
            let connector = Connector { tls: tls.clone(), runtime: runtime.clone() };
            // Fast: a look at whether the connection was closed. A question to the server could hang.
            Manager::from_connect(config.clone(), connector, ManagerConfig { recycling_method: RecyclingMethod::Fast })
        };
        let build = |manager: Manager, size: usize| {
            deadpool_postgres::Pool::builder(manager)
                .max_size(size)
                .runtime(Runtime::Tokio1)
                .create_timeout(Some(settings.connect_timeout))
                .build()
                .map_err(|error| prometheus::Error::Msg(error.to_string()))
        };
        // A pooler that doesn't follow statements may not follow several in flight either.
        let shared = if settings.prepared { settings.pool_size } else { 0 };
        let lanes = Lanes::new(config.clone(), tls.clone(), runtime.clone(), shared);
        let left = settings.pool_size - lanes.size();
        let (connections, following) = if left > 1 {
            (build(manager(), left - 1)?, build(manager(), 1)?)
        } else {
            let connections = build(manager(), left)?;
            (connections.clone(), connections)
        };
        let metrics = Metrics::register(registry)?;
        PoolGauges::register(connections.clone(), Arc::clone(&lanes), registry)?;
        Ok(Self { connections, following, lanes, tls, runtime, metrics, prepared: settings.prepared })
    }

    /// A connection, as soon as there is one. Bounded by the caller.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        self.lease_of(&self.connections).await
    }

    /// The connection that follows the feed.
    pub(crate) async fn lease_following(&self) -> Result<Lease<'_>, StoreError> {
        self.lease_of(&self.following).await
    }

    async fn lease_of(&self, connections: &deadpool_postgres::Pool) -> Result<Lease<'_>, StoreError> {
        let object = connections.get().await.map_err(|error| match error {
            PoolError::Backend(error) => StoreError::Unavailable(described(error)),
            error => StoreError::Unavailable(error.into()),
        })?;
        Ok(Lease { pool: self, object: Some(object) })
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
            for _ in 0..self.connections.status().max_size {
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

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
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

    /// Returns the connection to the pool: nothing is in flight on it, and no transaction open.
    pub(crate) fn keep(mut self) {
        drop(self.object.take());
    }

    /// Ends the use of a connection for single statements with the result of the last.
    pub(crate) fn end<T>(self, result: Result<T, Error>) -> Result<T, StoreError> {
        if result.as_ref().err().is_none_or(leaves_connection_sound) {
            self.keep();
        }
        result.map_err(|error| trouble(error).into())
    }

    fn object(&self) -> &Object {
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

/// Tells the server that nobody waits any more for the statement that a connection runs.
pub(crate) async fn cancel(client: &Client, tls: MakeRustlsConnect) {
    if !matches!(timeout(CANCEL_WITHIN, client.cancel_token().cancel_query(tls)).await, Ok(Ok(()))) {
        tracing::debug!("a statement that nobody waits for could not be cancelled");
    }
}

/// Makes connections on one runtime. Callers come from others, which may end or be busy while the connection lives.
struct Connector {
    tls: MakeRustlsConnect,
    runtime: Handle,
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let (config, tls, runtime) = (config.clone(), self.tls.clone(), self.runtime.clone());
        let connecting = AbortOnDropHandle::new(self.runtime.spawn(async move {
            let (client, connection) = config.connect(tls).await?;
            let driver = runtime.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok((client, driver))
        }));
        // The task fails only if its runtime is shut down.
        Box::pin(async move { connecting.await.unwrap_or_else(|_| Err(Error::__private_api_timeout())) })
    }
}
