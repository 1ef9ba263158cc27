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

/// What a look says of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It should take the writes, and doesn't yet, as far as is known here.
    Heir,
    /// It isn't the one that its name led to, or won't be for long: whoever looks must connect to that name anew.
    Gone,
    /// Neither.
    Other,
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
    /// looked at before one is chosen, lest it be one that was replaced. What is newer than the one that does ends that at once,
    /// whatever comes of it, and however long it takes to ask the others.
    ///
    /// Gives whether the connection that was looked over still leads to where its name does, as far as can be told.
    pub(crate) async fn looked(&self, host: u32, look: Option<&Look>) -> bool {
        let Some(look) = look else {
            self.known().looked_at[host as usize] = true;
            return false;
        };
        let standing = self.judge(host, look);
        if standing == Standing::Heir
            && let Err(error) = self.admit(host, look).await
        {
            tracing::debug!(server = self.server(host).name, cause = profile_ports::causes(&error), "not admitted");
        }
        standing != Standing::Gone
    }

    fn judge(&self, host: u32, look: &Look) -> Standing {
        let mut known = self.known();
        known.looked_at[host as usize] = true;
        if known.servers == 0 && !look.recovering {
            known.servers = look.servers;
        }
        let copy = known.servers == look.servers;
        let all = known.looked_at.iter().all(|looked_at| *looked_at);
        let dethroned = copy && self.saw(&mut known, look.timeline);
        let replaced = copy && !look.recovering && look.timeline < known.newest;
        if replaced {
            self.complain(&mut known, host, look.timeline);
            // Behind a single name another server may be, which those who connect now are led to.
            if self.hosts.len() == 1 {
                return Standing::Gone;
            }
        }
        let current = self.current();
        if current.is_some_and(|current| current.host == host && (look.recovering || look.timeline != current.timeline)) {
            tracing::warn!(server = self.server(host).name, "the primary is none any more, or another one than it was");
            self.crown(&mut known, None);
            return Standing::Gone;
        }
        if replaced {
            return Standing::Gone;
        }
        if look.recovering || current.is_some_and(|current| current.host == host) {
            return Standing::Other;
        }
        if current.is_some_and(|current| look.timeline <= current.timeline) {
            self.complain(&mut known, host, look.timeline);
            return Standing::Other;
        }
        if current.is_some() || all || dethroned { Standing::Heir } else { Standing::Other }
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
        self.learn(look).await?;
        let mut known = self.known();
        let (timeline, newest) = (look.timeline, known.newest);
        if timeline >= newest {
            self.crown(&mut known, Some(reign));
            return Ok(());
        }
        self.complain(&mut known, host, timeline);
        Err(StoreError::Unavailable(
            format!("{name} is on timeline {timeline} and was replaced by a server on timeline {newest}").into(),
        ))
    }

    /// Remembers a timeline, and whether anybody has seen a newer one.
    async fn learn(&self, look: &Look) -> Result<(), StoreError> {
        {
            let mut known = self.known();
            if known.servers != look.servers {
                // Behind one name another database may have been put; of several, one is a mistake.
                if known.servers != 0 && self.hosts.len() > 1 {
                    return Err(StoreError::Unavailable("this server is no copy of the others".into()));
                }
                (known.servers, known.newest) = (look.servers, 0);
            }
            self.saw(&mut known, look.timeline);
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
                return Ok(());
            };
            self.saw(&mut self.known(), told);
        }
        Ok(())
    }

    /// A timeline was seen. Whoever reigns on an older one was replaced, and stops. Gives whether somebody did.
    fn saw(&self, known: &mut Known, timeline: u32) -> bool {
        known.newest = known.newest.max(timeline);
        let Some(replaced) = self.current().filter(|current| current.timeline < known.newest) else { return false };
        tracing::warn!(server = self.server(replaced.host).name, timeline, "the primary was replaced: a newer timeline was seen");
        self.crown(known, None);
        true
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
            if let Ok(Ok(told)) = timeout(ASKED_WITHIN, shared.seen(servers, newest)).await {
                let mut known = self.known();
                if known.servers == servers {
                    self.saw(&mut known, told);
                }
            }
        }
    }

    /// While what is known is held, lest somebody reign on a timeline older than the newest one.
    fn crown(&self, known: &mut Known, reign: Option<Reign>) {
        if let Some(reign) = reign {
            tracing::info!(server = self.server(reign.host).name, timeline = reign.timeline, "this server takes the writes");
        } else {
            known.looked_at.fill(false);
            self.doubt.notify_waiters();
        }
        self.reign.store(reign.map_or(NOBODY, Reign::packed), Ordering::Release);
        self.changed.send_replace(reign);
    }

    fn complain(&self, known: &mut Known, host: u32, timeline: u32) {
        if known.complaint.replace((host, timeline)) != Some((host, timeline)) {
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

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::atomic::AtomicBool};

    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use profile_ports::CacheError;
    use tokio_postgres::Config;

    use super::*;
    use crate::settings::Address;

    const OLD: u32 = 0;
    const NEW: u32 = 1;

    fn two(shared: Option<Arc<dyn Timelines>>) -> Succession {
        let server = |host: &str| Server::new(&Address { host: host.to_owned(), port: 5432 }, &Config::new());
        Succession::new([server("old"), server("new")].into(), shared)
    }

    fn primary(timeline: u32) -> Look {
        Look { servers: 7, recovering: false, timeline, position: 0 }
    }

    /// Remembers nothing, and at some time says nothing.
    #[derive(Debug, Default)]
    struct Shared {
        silent: AtomicBool,
    }

    #[async_trait]
    impl Timelines for Shared {
        async fn seen(&self, _: u64, timeline: u32) -> Result<u32, CacheError> {
            if self.silent.load(Ordering::Relaxed) { pending().await } else { Ok(timeline) }
        }
    }

    #[tokio::test]
    async fn a_fresh_instance_leaves_the_replaced_one_alone_whichever_answers_first() {
        for first in [OLD, NEW] {
            let succession = two(None);
            let look = |host| primary(if host == OLD { 1 } else { 2 });
            for host in [first, 1 - first] {
                succession.looked(host, Some(&look(host))).await;
                assert_ne!(succession.current().map(|reign| reign.host), Some(OLD), "{first} answered first");
            }
            succession.looked(NEW, Some(&look(NEW))).await;
            assert_eq!(succession.current(), Some(Reign { host: NEW, timeline: 2 }), "{first} answered first");
        }
    }

    #[tokio::test]
    async fn a_newer_timeline_ends_a_reign_at_once_however_slow_redis_is() {
        let shared = Arc::new(Shared::default());
        let succession = two(Some(Arc::clone(&shared) as Arc<dyn Timelines>));
        succession.looked(NEW, None).await;
        succession.looked(OLD, Some(&primary(1))).await;
        let reign = succession.current().expect("a reign");
        shared.silent.store(true, Ordering::Relaxed);
        assert_eq!(succession.looked(NEW, Some(&primary(2))).now_or_never(), None, "Redis is asked");
        assert!(!succession.is_current(reign));
    }

    #[tokio::test]
    async fn a_connection_to_whoever_was_behind_a_name_before_ends_no_reign() {
        let server = Server::new(&Address { host: "one".to_owned(), port: 5432 }, &Config::new());
        let succession = Succession::new([server].into(), None);
        assert!(succession.looked(0, Some(&primary(1))).await);
        succession.admit(0, &primary(2)).await.expect("the one that is behind the name now");
        let reign = Some(Reign { host: 0, timeline: 2 });
        assert!(!succession.looked(0, Some(&primary(1))).await, "it leads elsewhere");
        assert_eq!(succession.current(), reign);
        assert!(succession.looked(0, Some(&primary(2))).await);
        assert_eq!(succession.current(), reign);
    }
}
