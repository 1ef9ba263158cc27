//! Scouts: who looks at every server that configuration names, each over a connection of its own.
//!
//! Hosts that may take the writes are looked at to know which does; the primary also to know how far it has flushed, and replicas
//! to know how far they have come. Where there is one host and no replica there is nothing to find out, and no scout.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use profile_ports::StoreError;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error::{too_late, unavailable},
    pool::config,
    replicas::{Replayed, Replicas},
    server::{Connected, Look, Server, look},
    settings::Settings,
    succession::{Reign, Succession},
};

/// Between two looks while nothing is in doubt, and otherwise: where nobody is known to take the writes, one doesn't answer, or
/// replicas are judged by what was flushed when.
const CALM: Duration = Duration::from_secs(1);
const ALERT: Duration = Duration::from_millis(200);
/// How long a server may take to say who it is.
const WITHIN: Duration = Duration::from_secs(1);

/// Notes the timeline for replicas, as the server itself has it, once.
const NOTE: &str = "INSERT INTO timelines (timeline)
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint ON CONFLICT DO NOTHING";

/// What every scout needs.
#[derive(Clone)]
pub(crate) struct Camp {
    pub(crate) succession: Arc<Succession>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) runtime: Handle,
}

/// Sends them out. They are called back when what this gives is dropped.
pub(crate) fn scouts(camp: &Camp, settings: &Settings) -> JoinSet<()> {
    let mut scouts = JoinSet::new();
    let succession = Arc::clone(&camp.succession);
    if settings.timelines.is_some() {
        scouts.spawn_on(async move { succession.share().await }, &camp.runtime);
    }
    if settings.others.is_empty() && settings.replicas.is_empty() {
        return scouts;
    }
    for (host, _) in (0..).zip(&camp.succession.hosts) {
        scouts.spawn_on(camp.clone().watch_host(host), &camp.runtime);
    }
    for (index, address) in settings.replicas.iter().enumerate() {
        scouts.spawn_on(camp.clone().watch_replica(index, Server::new(address, &config(settings))), &camp.runtime);
    }
    scouts
}

impl Camp {
    /// Looks at a host that may take the writes, until it is dropped.
    pub(crate) async fn watch_host(self, host: u32) {
        let mut connected = None;
        let mut noted = None;
        loop {
            let asked = Instant::now();
            let look = self.look(self.succession.server(host), &mut connected).await;
            self.succession.looked(host, look.as_ref().ok()).await;
            let current = self.succession.current();
            let reigns = current.filter(|reign| reign.host == host);
            if let (Ok(look), Some(reign), Some((client, _))) = (&look, reigns, &connected)
                && look.timeline == reign.timeline
            {
                self.tell(client, reign, asked, look, &mut noted).await;
            }
            let alert = !self.replicas.all.is_empty() || current.is_none() || (reigns.is_some() && look.is_err());
            self.pause(if alert { ALERT } else { CALM }).await;
        }
    }

    async fn tell(&self, client: &Client, reign: Reign, asked: Instant, look: &Look, noted: &mut Option<u32>) {
        if self.replicas.all.is_empty() {
            return;
        }
        self.replicas.tide.note(reign.timeline, asked, look.position);
        // Fails as long as nobody has migrated.
        if *noted != Some(reign.timeline) && matches!(timeout(WITHIN, client.batch_execute(NOTE)).await, Ok(Ok(()))) {
            *noted = Some(reign.timeline);
        }
    }

    /// Looks at a replica, until it is dropped.
    pub(crate) async fn watch_replica(self, index: usize, server: Server) {
        let mut connected = None;
        let mut known = None;
        loop {
            let replayed = self.replayed(&server, &mut connected).await;
            if let Err(error) = &replayed {
                tracing::debug!(
                    server = server.name,
                    cause = profile_ports::causes(error),
                    "a replica doesn't say how far it has come"
                );
            }
            let replayed = replayed.ok();
            let changed = self.replicas.looked(index, replayed);
            let (fit, lag) = changed.unwrap_or((false, Duration::ZERO));
            match (changed.is_some(), known) {
                (true, _) if fit => tracing::info!(server = server.name, "the replica is read from"),
                (true, _) | (false, None) if !fit => {
                    let lag_seconds = replayed.map(|_| lag.as_secs_f64());
                    tracing::warn!(
                        server = server.name,
                        answers = replayed.is_some(),
                        follows = replayed.is_some_and(|replayed| replayed.recovering),
                        lag_seconds,
                        "the replica is not read from: it is away, too far behind, or follows another server"
                    );
                }
                _ => {}
            }
            known = Some(());
            self.pause(ALERT).await;
        }
    }

    async fn replayed(&self, server: &Server, connected: &mut Option<Connected>) -> Result<Replayed, StoreError> {
        let look = self.look(server, connected).await?;
        let known = self.succession.servers();
        if known != 0 && look.servers != known {
            return Err(StoreError::Unavailable("it is no copy of the primary".into()));
        }
        let Some((client, _)) = &connected else { return Err(StoreError::Unavailable(too_late())) };
        let rows = timeout(WITHIN, client.query_typed(include_str!("sql/replayed.sql"), &[])).await;
        Replayed::of(&rows.map_err(|_| StoreError::Unavailable(too_late()))?.map_err(unavailable)?)
    }

    /// Over the connection that there is, or a new one.
    async fn look(&self, server: &Server, connected: &mut Option<Connected>) -> Result<Look, StoreError> {
        let looking = async {
            if connected.as_ref().is_none_or(|(client, _)| client.is_closed()) {
                *connected = Some(server.connect(self.tls.clone(), &self.runtime).await?);
            }
            match &connected {
                Some((client, _)) => look(client).await,
                None => Err(StoreError::Unavailable(too_late())),
            }
        };
        let look = timeout(WITHIN, looking).await.unwrap_or_else(|_| Err(StoreError::Unavailable(too_late())));
        if look.is_err() {
            *connected = None;
        }
        look
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            // Not at once, lest those who are in doubt make many looks of one.
            () = async {
                self.succession.doubt.notified().await;
                sleep(ALERT.min(pause)).await;
            } => {}
        }
    }
}
