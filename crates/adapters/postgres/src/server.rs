//! One server: where it is, and what it says of itself.

use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{Client, Config, types::PgLsn};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use std::time::Duration;

use profile_ports::StoreError;

use crate::{
    error::{too_late, unavailable},
    row::{corrupt, get},
    settings::Address,
};

/// A server that configuration names.
#[derive(Debug)]
pub(crate) struct Server {
    /// As it was configured, for logs and metrics.
    pub(crate) name: String,
    config: Config,
}

/// A connection, and the task that drives it.
pub(crate) type Connected = (Client, AbortOnDropHandle<()>);

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The number that all copies of one server share.
    pub(crate) servers: u64,
    /// Whether it follows another, and takes no writes.
    pub(crate) recovering: bool,
    /// The one on which it takes writes; 0 while it follows another.
    pub(crate) timeline: u32,
    /// What it has flushed; what it has replayed, while it follows another.
    pub(crate) position: u64,
}

impl Server {
    pub(crate) fn new(address: &Address, base: &Config) -> Self {
        let mut config = base.clone();
        config.host(&address.host).port(address.port);
        Self { name: address.to_string(), config }
    }

    /// A connection that a runtime drives until it is closed, or the handle dropped. Bounded by itself.
    pub(crate) async fn connect(&self, tls: MakeRustlsConnect, runtime: &Handle) -> Result<Connected, StoreError> {
        let within = self.config.get_connect_timeout().copied().unwrap_or(Duration::from_secs(5));
        let connecting = timeout(within, self.config.connect(tls)).await;
        let (client, connection) = connecting.map_err(|_| StoreError::Unavailable(too_late()))?.map_err(unavailable)?;
        let driver = runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        Ok((client, AbortOnDropHandle::new(driver)))
    }
}

/// Asks a server who it is.
pub(crate) async fn look(client: &Client) -> Result<Look, StoreError> {
    let rows = client.query_typed(include_str!("sql/look.sql"), &[]).await.map_err(unavailable)?;
    let row = rows.first().ok_or_else(|| corrupt("a server says nothing of itself"))?;
    let (servers, timeline): (i64, i64) = (get(row, "servers")?, get(row, "timeline")?);
    // Nothing is replayed yet where a replica begins.
    let position: Option<PgLsn> = get(row, "position")?;
    Ok(Look {
        servers: servers.cast_unsigned(),
        recovering: get(row, "recovering")?,
        timeline: u32::try_from(timeline).map_err(corrupt)?,
        position: position.map_or(0, u64::from),
    })
}
