//! The way out: an entity from the nearest tier that has it and can be believed, else from the store.
//!
//! **The order.** The tiers one after the other, then the store; whoever misses in the first one shares a [`flights`] with all
//! who want the same key at that time, so that one of them goes on. What is found is put into the tiers before it, each under
//! the ticket that its own miss came with.
//!
//! **What is believed** is said in [`tier`]: an entry of a part that has followed the feed ([`follower`]) so far that nothing
//! committed longer than [`TRUST`] ago can be missing. All else is a miss. So a plain read is at most [`MAX_STALENESS`] old,
//! and one that names a version ([`Freshness`]) sees that or a later one.
//!
//! **Replicas** of the store may have less than this instance has shown. What one gives is put into the first tier before it is
//! shown, and is shown if the tier takes it; where it doesn't, or there is no telling, the primary is asked.
//!
//! **What happens to the store then is bounded**: so many loads at once, each so long.
//!
//! **What has been committed here** is in the first tier before its client knows ([`Reads::committed`]): an instance answers with
//! no less than it acknowledged while its own tier is believed and takes fills. Nobody else is promised that without a token.
//!
//! Modules, in the order to read them: `tier`, `entry`, `flights`, `follower`, `measures`, `kept`.

mod entry;
mod flights;
mod follower;
mod kept;
mod measures;
mod tier;

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use profile_domain::{EntityKey, Incarnation, Moment, Place, TenantId, Version};
use profile_ports::{
    AsOf, By, Cache, Deadline, Seen, Store, StoreError,
    cache::{Change, Fill, Hit, Put, Spans, Standing, State, Ticket},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::timeout,
};

use crate::ProfileBody;

use self::{
    entry::Entry,
    flights::{Flights, Seat},
    measures::Measures,
    tier::{Look, Tier},
};

/// How old a plain read may be.
pub const MAX_STALENESS: Duration = Duration::from_secs(2);
/// For how long a commit may be missing in a tier that is still believed. What is left of [`MAX_STALENESS`] is for the answer to
/// be sent.
pub(crate) const TRUST: Duration = Duration::from_millis(1_500);
/// What tiers must rely on: how long a load may take, and how far replicas and other tiers may lie behind when it begins.
pub const SPANS: Spans = Spans { load: Duration::from_secs(5), lag: Duration::from_secs(3) };
/// For how long it is remembered that there is nothing under an id.
const ABSENCE: Duration = Duration::from_secs(5);
/// Of its time, what an entry may be short of: half of this on average, so that what was filled together doesn't expire together.
const JITTER: f64 = 0.1;
/// The last part of an entry's time, in which readers may refresh it before it expires.
const EARLY: f64 = 0.1;
/// What began to be fetched longer ago than this is not waited for by others: with [`TRUST`] it stays within [`MAX_STALENESS`].
const SHARED: Duration = Duration::from_millis(400);
/// How often a read begins anew when something newer came in between, until it takes what it loaded itself.
const ROUNDS: usize = 3;
/// By how much clocks of instances may differ.
const SKEW: Duration = Duration::from_mins(1);

/// What is kept of what was read, and for how long.
#[derive(Clone)]
pub struct ReadSettings {
    /// How long an entry lives, at most. 24 h.
    pub ttl: Duration,
    /// For how long entries are served while the store can't be reached. 60 s; zero: never.
    pub stale_if_error: Duration,
    /// Loads of the store at once, at most.
    pub loads: usize,
    /// The clock. It must not go backwards.
    pub now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_hours(24), stale_if_error: Duration::from_mins(1), loads: 64, now: Arc::new(Instant::now) }
    }
}

/// A cache and what it is called. The first tier is in this process, others are shared.
#[derive(Clone)]
pub struct NamedCache {
    /// In metrics, logs and `Cache-Status`.
    pub name: &'static str,
    /// The cache.
    pub cache: Arc<dyn Cache>,
    /// Whether it answers at once, and never fails.
    pub in_process: bool,
}

/// What a read insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// At most [`MAX_STALENESS`] old.
    Recent,
    /// This version of the entity, or a later one, which the store has from this place on, if that is known.
    AtLeast(Version, Option<Place>),
    /// What was committed up to this place.
    After(Place),
    /// All that was committed before.
    Current,
}

impl Freshness {
    fn allows(self, state: &State) -> bool {
        match self {
            Self::Recent => true,
            Self::AtLeast(version, _) => state.version() >= Some(version),
            // Entries don't know their places.
            Self::After(_) | Self::Current => false,
        }
    }

    /// What the store must show.
    pub(crate) fn as_of(self) -> AsOf {
        match self {
            Self::Recent => AsOf::Recently,
            Self::AtLeast(_, Some(place)) | Self::After(place) => AsOf::Place(place),
            Self::AtLeast(_, None) | Self::Current => AsOf::Now,
        }
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A tier.
    Cache {
        /// Its name.
        tier: &'static str,
        /// What is left of the entry's time.
        expires_in: Duration,
    },
    /// A tier that may have missed something, because the store can't be reached.
    Stale {
        /// Its name.
        tier: &'static str,
        /// How old the answer may be.
        age: Duration,
    },
    /// The store.
    Store(Forwarded),
}

/// Why the store was asked, in the words of RFC 9211.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// There is no tier.
    Bypass,
    /// No tier had it.
    Miss,
    /// The read insisted on what tiers couldn't vouch for.
    Request,
}

/// What was found.
pub(crate) struct Found {
    /// `None`: nothing.
    pub(crate) body: Option<ProfileBody>,
    pub(crate) origin: Origin,
}

/// The tiers over a store.
pub(crate) struct Reads {
    store: Arc<dyn Store>,
    tiers: Vec<Tier>,
    flights: Flights,
    loads: Semaphore,
    settings: ReadSettings,
    /// For what goes on when a reader has gone. There where there are tiers.
    runtime: Option<Handle>,
    /// Whether the store didn't answer the last time the feed was followed.
    away: AtomicBool,
    /// Of the feed that was followed last.
    incarnation: RwLock<Option<Incarnation>>,
    /// Wakes who follows the feed.
    wake: Arc<Notify>,
    measures: Arc<Measures>,
    wall_clock: fn() -> Moment,
    /// For spreading in time, nothing that must not be guessed.
    chance: (RandomState, AtomicU64),
}

/// What the tiers said before a commit, for [`Reads::committed`].
pub(crate) struct Before(Vec<Option<Ticket>>);

impl Reads {
    /// From the store alone.
    pub(crate) fn uncached(store: Arc<dyn Store>, wall_clock: fn() -> Moment) -> Self {
        Self::new(store, wall_clock, Vec::new(), ReadSettings::default(), None)
    }

    pub(crate) fn new(
        store: Arc<dyn Store>,
        wall_clock: fn() -> Moment,
        caches: Vec<NamedCache>,
        settings: ReadSettings,
        runtime: Option<Handle>,
    ) -> Self {
        let measures = Arc::new(Measures::new());
        let wake = Arc::new(Notify::new());
        let used = caches.into_iter().filter(|named| named.cache.parts() > 0);
        Self {
            store,
            tiers: used.map(|named| Tier::new(named, Arc::clone(&wake), &measures)).collect(),
            flights: Flights::default(),
            loads: Semaphore::new(settings.loads),
            settings,
            runtime,
            away: AtomicBool::new(false),
            incarnation: RwLock::new(None),
            wake,
            measures,
            wall_clock,
            chance: (RandomState::new(), AtomicU64::new(0)),
        }
    }

    pub(crate) fn register(&self, registry: &prometheus::Registry) -> prometheus::Result<()> {
        self.measures.register(registry)
    }

    fn now(&self) -> Instant {
        (self.settings.now)()
    }

    /// The life that the store is in, once the feed was looked at.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        *self.incarnation.read()
    }

    /// From 0 to 1.
    pub(crate) fn chance(&self) -> f64 {
        let (state, next) = &self.chance;
        let bits = state.hash_one(next.fetch_add(1, Ordering::Relaxed)) >> 32;
        f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// What is known of a profile.
    pub(crate) async fn profile(
        self: &Arc<Self>,
        tenant: &TenantId,
        key: &EntityKey,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Found, StoreError> {
        if self.tiers.is_empty() || freshness == Freshness::Current {
            let why = if self.tiers.is_empty() { Forwarded::Bypass } else { Forwarded::Request };
            return found(self.load(tenant, key, freshness.as_of(), deadline).await?.found, Origin::Store(why));
        }
        let why = if freshness == Freshness::Recent { Forwarded::Miss } else { Forwarded::Request };
        for _ in 0..ROUNDS {
            let first = &self.tiers[0];
            let now = self.now();
            let (takes, stale) = match first.look(tenant, key, now).await {
                Look::Fresh(hit, ticket) if freshness.allows(&hit.state) => {
                    self.refresh_early(tenant, key, &hit, ticket);
                    return found(hit.state, Origin::Cache { tier: first.name, expires_in: hit.expires_in });
                }
                Look::Fresh(_, ticket) | Look::Nothing(ticket) => (ticket.is_some(), None),
                Look::Old(hit, age) => (false, Some((hit, age))),
            };
            let stale = stale.filter(|(hit, age)| *age <= self.settings.stale_if_error && freshness.allows(&hit.state));
            if let (Some((hit, age)), true) = (&stale, self.away.load(Ordering::Relaxed)) {
                return self.stale(first, hit.state.clone(), *age);
            }
            let outcome = match self.flights.join(tenant, key, freshness, now) {
                Seat::Lead(lead) => {
                    let outcome = self.fetch(tenant, key, freshness, deadline).await;
                    lead.land(&outcome);
                    outcome
                }
                Seat::Follow(mut flight) => {
                    let landed = timeout(deadline.remaining(), flight.landed());
                    match landed.await.map_err(|_| StoreError::Unavailable("a load took too long".into()))? {
                        // What was committed since is in the first tier, or has left its version there.
                        Some(Ok(_)) if takes => continue,
                        Some(outcome) => outcome,
                        // Who led has gone.
                        None => continue,
                    }
                }
            };
            return match (outcome, stale) {
                (Ok((shown, origin)), _) => found(shown, origin),
                (Err(StoreError::Unavailable(_)), Some((hit, age))) => self.stale(first, hit.state, age),
                (Err(error), _) => Err(error),
            };
        }
        found(self.load(tenant, key, AsOf::Now, deadline).await?.found, Origin::Store(why))
    }

    fn stale(&self, tier: &Tier, state: State, age: Duration) -> Result<Found, StoreError> {
        self.measures.stale.inc();
        found(state, Origin::Stale { tier: tier.name, age })
    }

    /// From the tiers behind the first one, or the store; into those before.
    async fn fetch(
        &self,
        tenant: &TenantId,
        key: &EntityKey,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<(State, Origin), StoreError> {
        let first = &self.tiers[0];
        let why = if freshness == Freshness::Recent { Forwarded::Miss } else { Forwarded::Request };
        for last in [false, true] {
            // Somebody may have filled it between the look and the lead.
            let ticket = match first.look(tenant, key, self.now()).await {
                Look::Fresh(hit, _) if freshness.allows(&hit.state) => {
                    return Ok((hit.state, Origin::Cache { tier: first.name, expires_in: hit.expires_in }));
                }
                Look::Fresh(_, ticket) | Look::Nothing(ticket) => ticket,
                Look::Old(..) => None,
            };
            let mut tickets = vec![ticket];
            let mut hit = None;
            // The first tier knew of something newer than what came from there.
            let others = if last { &[] } else { &self.tiers[1..] };
            for tier in others {
                match tier.look(tenant, key, self.now()).await {
                    Look::Fresh(known, _) if freshness.allows(&known.state) => {
                        hit = Some((tier.name, known));
                        break;
                    }
                    Look::Fresh(_, ticket) | Look::Nothing(ticket) => tickets.push(ticket),
                    Look::Old(..) => tickets.push(None),
                }
            }
            let (state, origin, expires_in, by) = if let Some((tier, Hit { state, expires_in })) = hit {
                (state, Origin::Cache { tier, expires_in }, expires_in, By::Primary)
            } else {
                // What a replica has is shown if the first tier takes it: then nothing newer was known here.
                let as_of = if tickets[0].is_some() && !last { freshness.as_of() } else { AsOf::Now };
                let Seen { found: state, by } = self.load(tenant, key, as_of, deadline).await?;
                let expires_in = self.lifetime(&state);
                (state, Origin::Store(why), expires_in, by)
            };
            let fill = self.fill(state.clone(), expires_in);
            let put = first.fill(tenant, key, tickets[0], fill.clone()).await;
            // Loaded anew after something newer was seen, it is what that left, if only the version of a deletion.
            if !last && (put == Some(Put::Older) || (by == By::Replica && put != Some(Put::Stored))) {
                continue;
            }
            // Ids that nobody has would fill what others share.
            if matches!(state, State::Living { .. }) {
                for (tier, ticket) in self.tiers[1..].iter().zip(&tickets[1..]) {
                    tier.fill(tenant, key, *ticket, fill.clone()).await;
                }
            }
            return Ok((state, origin));
        }
        unreachable!("the last round returns")
    }

    /// One of so many at once.
    async fn load(&self, tenant: &TenantId, key: &EntityKey, as_of: AsOf, deadline: Deadline) -> Result<Seen<State>, StoreError> {
        let permit = match self.loads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => timeout(deadline.remaining(), self.loads.acquire())
                .await
                .map_err(|_| StoreError::Unavailable("too many loads are waiting".into()))?
                .map_err(|error| StoreError::Unavailable(error.into()))?,
        };
        let loading = self.measures.loading();
        let Seen { found: view, by } = self.store.view_as_of(tenant, key, as_of, deadline.at_most(SPANS.load)).await?;
        // In this order, so that no more are ever counted than there are permits.
        drop(loading);
        drop(permit);
        let found = match view {
            Some(view) => Entry::state(&ProfileBody::of_view(&view)?, view.updated_at),
            None => State::Absent { version: None },
        };
        Ok(Seen { found, by })
    }

    /// For how long what was just learned is kept.
    fn lifetime(&self, state: &State) -> Duration {
        match state {
            State::Living { .. } => self.settings.ttl.mul_f64(1.0 - JITTER * self.chance()),
            State::Absent { .. } => ABSENCE,
        }
    }

    fn fill(&self, state: State, expires_in: Duration) -> Fill {
        Fill { standing: Entry::standing(&state, (self.wall_clock)()), state, expires_in }
    }

    /// The nearer its end, the likelier a reader refreshes an entry, so that one that is read a lot never expires.
    fn refresh_early(self: &Arc<Self>, tenant: &TenantId, key: &EntityKey, hit: &Hit, ticket: Option<Ticket>) {
        if hit.expires_in.as_secs_f64() > self.settings.ttl.as_secs_f64() * EARLY || matches!(hit.state, State::Absent { .. }) {
            return;
        }
        let left = hit.expires_in.as_secs_f64() / (self.settings.ttl.as_secs_f64() * EARLY);
        if self.chance() < left {
            return;
        }
        let Some(ticket) = ticket else { return };
        let Some(lead) = self.flights.lead_alone(tenant, key, self.now()) else { return };
        let (reads, tenant, key) = (Arc::clone(self), tenant.clone(), key.clone());
        self.spawn(async move {
            let _lead = lead;
            let deadline = Deadline::within(SPANS.load);
            let Ok(Seen { found: state, .. }) = reads.load(&tenant, &key, AsOf::Recently, deadline).await else { return };
            let expires_in = reads.lifetime(&state);
            let fill = reads.fill(state, expires_in);
            reads.tiers[0].fill(&tenant, &key, Some(ticket), fill).await;
        });
    }

    /// To be asked before a commit that is to be told of by [`Self::committed`].
    pub(crate) async fn before_commit(&self, tenant: &TenantId, key: &EntityKey) -> Before {
        let mut tickets = Vec::with_capacity(self.tiers.len());
        for tier in &self.tiers {
            tickets.push(tier.ticket(tenant, key, self.now()).await);
        }
        Before(tickets)
    }

    /// A commit changed one profile: the first tier knows before its client does, the others soon.
    pub(crate) async fn committed(
        self: &Arc<Self>,
        before: Before,
        tenant: &TenantId,
        key: EntityKey,
        version: Version,
        living: Option<(ProfileBody, Moment)>,
    ) {
        if self.tiers.is_empty() {
            return;
        }
        let change = Change { tenant: tenant.clone(), key, version };
        let state = match living {
            Some((body, updated_at)) => Entry::state(&body, updated_at),
            None => State::Absent { version: Some(version) },
        };
        let fill = Fill { expires_in: self.lifetime(&state), state, standing: Standing::Fresh };
        self.tiers[0].write_through(before.0[0], &change, fill.clone()).await;
        self.flights.part_from(std::slice::from_ref(&change));
        self.wake.notify_one();
        if self.tiers.len() > 1 {
            let reads = Arc::clone(self);
            self.spawn(async move {
                for (tier, ticket) in reads.tiers[1..].iter().zip(&before.0[1..]) {
                    tier.write_through(*ticket, &change, fill.clone()).await;
                }
            });
        }
    }

    /// A commit may have changed one profile, and may still: what is kept of it in this process is not shown again.
    pub(crate) async fn unsure(&self, tenant: &TenantId, key: &EntityKey) {
        if let Some(first) = self.tiers.first() {
            // It never fails.
            let _ = first.forget(tenant, key).await;
        }
    }

    /// A commit changed many: the first tier knows before its client does, the others by the feed.
    pub(crate) async fn changed(&self, changes: &[Change]) {
        if let (Some(first), false) = (self.tiers.first(), changes.is_empty()) {
            first.invalidate(changes).await;
            self.flights.part_from(changes);
            self.wake.notify_one();
        }
    }

    /// Drops everything that is kept: in this process, and in what others share.
    pub(crate) async fn clear(&self) -> Result<(), profile_ports::CacheError> {
        for tier in &self.tiers {
            tier.clear().await?;
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Drops what is kept of one entity.
    pub(crate) async fn forget(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), profile_ports::CacheError> {
        for tier in &self.tiers {
            tier.forget(tenant, key).await?;
        }
        Ok(())
    }

    /// The tiers by name, and whether each is believed now.
    pub(crate) fn tiers(&self) -> Vec<(&'static str, bool)> {
        let now = self.now();
        self.tiers.iter().map(|tier| (tier.name, tier.is_believed(now))).collect()
    }
}

fn found(state: State, origin: Origin) -> Result<Found, StoreError> {
    let body = match state {
        State::Living { version, bytes } => Some(Entry::body(version, &bytes)?),
        State::Absent { .. } => None,
    };
    Ok(Found { body, origin })
}
