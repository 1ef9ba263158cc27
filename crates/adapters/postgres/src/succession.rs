//! Succession: which server takes the writes, and that none does which was replaced.
//!
//! A server that takes over from another begins a timeline with a higher number. The newest that was seen is remembered, here
//! and, by [`Timelines`], by all instances; one that isn't in recovery but on an older timeline was replaced, and came back without
//! knowing so. Nobody connects to it for reading or writing, and connections that were made before are dropped.
//!
//! **A connection keeps its reign.** A server that runs begins no timeline but by a promotion, and a standby isn't connected to;
//! so what a connection was told when it was made holds for as long as it lives, and comparing it with the current one
//! ([`Succession::is_current`]) costs nothing. It is done whenever a connection is taken, and once more before what commits.
//!
//! **No fence**: between a promotion and the next look (`scouts.rs`) the old server, if it is still there, is written to. What it
//! then acknowledges is lost. PostgreSQL alone can prevent that.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use profile_ports::{StoreError, Timelines};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, Notify, watch},
    time::{sleep, timeout},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::server::{Connected, Look, Server, look};

/// How often the others are asked what they have seen before it is gone on without, how long each time, and the pause between.
const ATTEMPTS: u32 = 4;
const ASKED_WITHIN: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(100);
/// How often they are asked once a server is known.
const SHARED_EVERY: Duration = Duration::from_secs(1);

/// Who takes the writes, and since which timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    /// Which of [`Succession::hosts`].
    pub(crate) host: u32,
    pub(crate) timeline: u32,
}

/// Nobody.
const NOBODY: u64 = 0;

impl Reign {
    fn packed(self) -> u64 {
        (u64::from(self.host) << 32) | u64::from(self.timeline)
    }

    /// A timeline is never 0.
    fn unpacked(packed: u64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (host, timeline) = ((packed >> 32) as u32, packed as u32);
        (packed != NOBODY).then_some(Self { host, timeline })
    }
}

/// The servers that may take the writes, and which does.
pub(crate) struct Succession {
    pub(crate) hosts: Box<[Server]>,
    reign: AtomicU64,
    changed: watch::Sender<Option<Reign>>,
    known: Mutex<Known>,
    shared: Option<Arc<dyn Timelines>>,
    /// One at a time decides.
    election: AsyncMutex<()>,
    /// Told where somebody found nobody who takes the writes.
    pub(crate) doubt: Notify,
}

/// What was seen.
#[derive(Default)]
struct Known {
    /// The number that all servers share; 0 before any was seen.
    servers: u64,
    newest: u32,
    /// Hosts that were looked at since nobody reigns.
    looked_at: Vec<bool>,
    /// What was complained about last, so that it is said once.
    complaint: Option<(u32, u32)>,
}

impl Succession {
    pub(crate) fn new(hosts: Box<[Server]>, shared: Option<Arc<dyn Timelines>>) -> Self {
        let known = Known { looked_at: vec![false; hosts.len()], ..Known::default() };
        Self {
            hosts,
            reign: AtomicU64::new(NOBODY),
            changed: watch::Sender::new(None),
            known: Mutex::new(known),
            shared,
            election: AsyncMutex::default(),
            doubt: Notify::new(),
        }
    }

    pub(crate) fn current(&self) -> Option<Reign> {
        Reign::unpacked(self.reign.load(Ordering::Acquire))
    }

    pub(crate) fn is_current(&self, reign: Reign) -> bool {
        self.reign.load(Ordering::Acquire) == reign.packed()
    }

    /// The number that the servers share, once one was seen.
    pub(crate) fn servers(&self) -> u64 {
        self.known().servers
    }

    /// A connection to whoever takes the writes, driven by a runtime. Waits while nobody is known to; bounded by the caller.
    pub(crate) async fn connect(&self, tls: MakeRustlsConnect, runtime: &Handle) -> Result<(Connected, Reign), StoreError> {
        let host = if self.hosts.len() == 1 { 0 } else { self.awaited().await.host };
        let entered = async {
            let connected = self.server(host).connect(tls, runtime).await?;
            let look = look(&connected.0).await?;
            let reign = Reign { host, timeline: look.timeline };
            if self.hosts.len() == 1 {
                self.admit(host, &look).await?;
            }
            if look.recovering || !self.is_current(reign) {
                return Err(StoreError::Unavailable(
                    format!("{} doesn't take the writes any more", self.server(host).name).into(),
                ));
            }
            Ok((connected, reign))
        };
        entered.await.inspect_err(|_| self.doubt.notify_waiters())
    }

    pub(crate) fn server(&self, host: u32) -> &Server {
        &self.hosts[host as usize]
    }

    async fn awaited(&self) -> Reign {
        self.doubt.notify_waiters();
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(reign) = *changed.borrow_and_update() {
                return reign;
            }
            // Never: the sender lives here.
            let _ = changed.changed().await;
        }
    }

    /// One of several was looked at, or couldn't be. Whoever is on the newest timeline takes the writes; while nobody does, all are
    /// looked at before one is chosen, lest it be one that was replaced.
    pub(crate) async fn looked(&self, host: u32, look: Option<&Look>) {
        self.known().looked_at[host as usize] = true;
        let Some(look) = look else { return };
        let current = self.current();
        if current.is_some_and(|current| current.host == host && (look.recovering || look.timeline != current.timeline)) {
            tracing::warn!(server = self.server(host).name, "the primary is none any more, or another one than it was");
            self.crown(None);
            return;
        }
        if look.recovering || current.is_some_and(|current| current.host == host) {
            return;
        }
        match current {
            None if !self.known().looked_at.iter().all(|looked_at| *looked_at) => {}
            Some(current) if look.timeline <= current.timeline => self.complain(host, look.timeline),
            _ => {
                if let Err(error) = self.admit(host, look).await {
                    tracing::debug!(server = self.server(host).name, cause = profile_ports::causes(&error), "not admitted");
                }
            }
        }
    }

    /// Lets a server take the writes, unless a newer timeline than its own is known.
    async fn admit(&self, host: u32, look: &Look) -> Result<(), StoreError> {
        let name = &self.server(host).name;
        if look.recovering {
            return Err(StoreError::Unavailable(format!("{name} is a standby, which takes no writes").into()));
        }
        let reign = Reign { host, timeline: look.timeline };
        if self.is_current(reign) {
            return Ok(());
        }
        let _turn = self.election.lock().await;
        if self.is_current(reign) {
            return Ok(());
        }
        let newest = self.learn(look).await?;
        if look.timeline < newest {
            self.complain(host, look.timeline);
            let timeline = look.timeline;
            return Err(StoreError::Unavailable(
                format!("{name} is on timeline {timeline} and was replaced by a server on timeline {newest}").into(),
            ));
        }
        self.crown(Some(reign));
        Ok(())
    }

    /// Remembers a timeline, and gives the newest one that anybody has seen.
    async fn learn(&self, look: &Look) -> Result<u32, StoreError> {
        {
            let mut known = self.known();
            if known.servers != look.servers {
                // Behind one name another database may have been put; of several, one is a mistake.
                if known.servers != 0 && self.hosts.len() > 1 {
                    return Err(StoreError::Unavailable("this server is no copy of the others".into()));
                }
                (known.servers, known.newest) = (look.servers, 0);
            }
            known.newest = known.newest.max(look.timeline);
        }
        if let Some(shared) = &self.shared {
            let mut told = None;
            for attempt in 0..ATTEMPTS {
                if attempt > 0 {
                    sleep(PAUSE).await;
                }
                if let Ok(Ok(seen)) = timeout(ASKED_WITHIN, shared.seen(look.servers, look.timeline)).await {
                    told = Some(seen);
                    break;
                }
            }
            let Some(told) = told else {
                tracing::warn!("Redis can't be asked for the newest timeline: only those are known that this process has seen");
                return Ok(self.known().newest);
            };
            let mut known = self.known();
            known.newest = known.newest.max(told);
        }
        Ok(self.known().newest)
    }

    /// Keeps what all have seen and what was seen here the same, until it is dropped.
    pub(crate) async fn share(&self) {
        let Some(shared) = &self.shared else { return };
        loop {
            sleep(SHARED_EVERY).await;
            let (servers, newest) = {
                let known = self.known();
                (known.servers, known.newest)
            };
            if servers == 0 {
                continue;
            }
            if let Ok(Ok(told)) = timeout(ASKED_WITHIN, shared.seen(servers, newest)).await
                && told > newest
            {
                let _turn = self.election.lock().await;
                let mut known = self.known();
                if known.servers == servers {
                    known.newest = known.newest.max(told);
                }
                drop(known);
                if self.current().is_some_and(|current| current.timeline < told) {
                    tracing::warn!(timeline = told, "others have seen a newer timeline: the primary was replaced");
                    self.crown(None);
                }
            }
        }
    }

    fn crown(&self, reign: Option<Reign>) {
        if let Some(reign) = reign {
            tracing::info!(server = self.server(reign.host).name, timeline = reign.timeline, "this server takes the writes");
        } else {
            self.known().looked_at.fill(false);
            self.doubt.notify_waiters();
        }
        self.reign.store(reign.map_or(NOBODY, Reign::packed), Ordering::Release);
        self.changed.send_replace(reign);
    }

    fn complain(&self, host: u32, timeline: u32) {
        if self.known().complaint.replace((host, timeline)) != Some((host, timeline)) {
            tracing::error!(
                server = self.server(host).name,
                timeline,
                "a server takes writes on a timeline that isn't the newest, or not alone: it is not used"
            );
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
