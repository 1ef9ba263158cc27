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
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error::{described, too_late, unavailable},
    pool::{cancel, config},
    replicas::{REPLAYED, Replayed, Replicas},
    server::{Connected, Look, Server, look},
    settings::Settings,
    succession::Succession,
};

/// Between two looks while nothing is in doubt, and otherwise: where nobody is known to take the writes, one doesn't answer, or
/// replicas are judged by what was flushed when.
const CALM: Duration = Duration::from_secs(1);
const ALERT: Duration = Duration::from_millis(200);
/// How long a server may take to say who it is.
const WITHIN: Duration = Duration::from_secs(1);

/// So many failures in a row to note a timeline are more than a migration that isn't done yet.
const FAILURES: u32 = 25;

/// What a scout has noted for replicas.
#[derive(Default)]
struct Noted {
    /// Of which servers, and which.
    timeline: Option<(u64, u32)>,
    failures: u32,
}

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
        let mut noted = Noted::default();
        loop {
            let asked = Instant::now();
            let look = self.look(self.succession.server(host), &mut connected).await;
            if !self.succession.looked(host, look.as_ref().ok()).await {
                connected = None;
            }
            let current = self.succession.current();
            let reigns = current.filter(|reign| reign.host == host);
            if let (Ok(look), Some(reign)) = (&look, reigns)
                && look.timeline == reign.timeline
                && !self.replicas.all.is_empty()
            {
                self.replicas.tide.note(reign.timeline, asked, look.position);
                self.note(look, &mut connected, &mut noted).await;
            }
            let alert = !self.replicas.all.is_empty() || current.is_none() || (reigns.is_some() && look.is_err());
            self.pause(if alert { ALERT } else { CALM }).await;
        }
    }

    /// Has the primary note its timeline for replicas, once.
    async fn note(&self, look: &Look, connected: &mut Option<Connected>, noted: &mut Noted) {
        let Some((client, _)) = connected else { return };
        let timeline = Some((look.servers, look.timeline));
        if noted.timeline == timeline {
            return;
        }
        let result = timeout(WITHIN * 2, client.batch_execute(&note(look))).await;
        if result.is_err() {
            // It isn't known what the server does with it.
            cancel(client, self.tls.clone()).await;
            *connected = None;
        }
        let result = result.map_err(|_| too_late()).and_then(|noted| noted.map_err(described));
        let Err(cause) = result else {
            *noted = Noted { timeline, failures: 0 };
            return;
        };
        // As long as nobody has migrated, it must.
        noted.failures += 1;
        if noted.failures == FAILURES {
            tracing::error!(
                cause = profile_ports::causes(&*cause),
                "the primary can't note its timeline: no replica is read from until it can"
            );
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
            let (fit, lag) = changed.unwrap_or((false, None));
            match (changed.is_some(), known) {
                (true, _) if fit => tracing::info!(server = server.name, "the replica is read from"),
                (true, _) | (false, None) if !fit => {
                    let lag_seconds = lag.map(|lag| lag.as_secs_f64());
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
        let rows = timeout(WITHIN, client.query_typed(REPLAYED.sql, &[])).await;
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

/// One transaction, which waits for no standby: those that follow get it when they do, and nothing is lost if it is noted again. The
/// server gives it up by itself, as whoever stops waiting doesn't end what it runs.
fn note(look: &Look) -> String {
    let (servers, timeline) = (look.servers.cast_signed(), look.timeline);
    format!(
        "SET LOCAL synchronous_commit = local; SET LOCAL statement_timeout = '1s';
         INSERT INTO timelines (servers, timeline) VALUES ({servers}, {timeline}) ON CONFLICT DO NOTHING"
    )
}
