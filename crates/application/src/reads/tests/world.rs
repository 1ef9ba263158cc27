//! A store whose loads take as long as a test wants, tiers that fail when it wants, and a clock that it moves.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use profile_domain::{
    Changeset, Entity, EntityKey, EntityType, EntityView, FeedChange, FeedPosition, Incarnation, Moment, Place, ProfileId,
    Properties, Receipt, TenantId, Version, plan::ChangeKind, search::ListQuery, text::EmailKey,
};
use profile_memory::MemoryCache;
use profile_ports::{
    AsOf, Bulk, By, Cache, CacheError, CommitError, Deadline, Detail, EmailOwners, Entities, EntityStream, Feed, Replicas,
    SecretKey, Secrets, Seen, Store, StoreError,
    cache::{Answer, Begin, Change, Fill, Got, Mark, Put, Step, Ticket},
};
use profile_ports::{FeedPage, FeedState, Numbered};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::{Freshness, NamedCache, ReadSettings, Reads, SPANS, follower::Follower};
use crate::{ProfileBody, SCHEMA};

/// Moved by hand.
#[derive(Clone)]
pub(super) struct Clock {
    start: Instant,
    passed: Arc<AtomicU64>,
}

impl Clock {
    fn new() -> Self {
        // Late enough that ages can be taken from it.
        Self { start: Instant::now() + Duration::from_hours(1), passed: Arc::default() }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, time: Duration) {
        self.passed.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// What was committed of one entity: when, which version, and whether it lived then.
#[derive(Clone, Copy)]
pub(super) struct Commit {
    pub(super) at: Instant,
    pub(super) version: Version,
    pub(super) lives: bool,
}

pub(super) struct FakeStore {
    clock: Clock,
    tasks: Mutex<profile_port_contracts::TaskTable>,
    commits: Mutex<HashMap<EntityKey, Vec<Commit>>>,
    log: Mutex<Vec<(FeedChange, Instant)>>,
    head: AtomicUsize,
    pub(super) incarnation: Mutex<Incarnation>,
    pub(super) run: AtomicU64,
    /// Loads wait here, once somebody wants to hold them.
    pub(super) held: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    pub(super) away: AtomicBool,
    /// Others commit whenever somebody looks.
    pub(super) restless: AtomicBool,
    /// Somebody holds the lock, and gives no change a place.
    pub(super) stuck: AtomicBool,
    /// How far a replica lies behind, in milliseconds, if there is one.
    pub(super) replica: Mutex<Option<u64>>,
    pub(super) loads: AtomicUsize,
    loading: AtomicUsize,
    pub(super) most_loading: AtomicUsize,
}

impl FakeStore {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            tasks: Mutex::default(),
            commits: Mutex::default(),
            log: Mutex::default(),
            head: AtomicUsize::new(0),
            incarnation: Mutex::new(Incarnation(1)),
            run: AtomicU64::new(2),
            held: Mutex::new(None),
            away: AtomicBool::new(false),
            restless: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            replica: Mutex::new(None),
            loads: AtomicUsize::new(0),
            loading: AtomicUsize::new(0),
            most_loading: AtomicUsize::new(0),
        }
    }

    pub(super) fn write(&self, key: &EntityKey, lives: bool) -> Version {
        let mut commits = self.commits.lock();
        let history = commits.entry(key.clone()).or_default();
        let version = history.last().map_or(Version::FIRST, |last| last.version.next());
        history.push(Commit { at: self.clock.now(), version, lives });
        let mut log = self.log.lock();
        let change = FeedChange {
            position: FeedPosition(i64::try_from(log.len()).unwrap() + 1),
            tenant: TenantId::default_tenant(),
            key: key.clone(),
            version,
            kind: if lives { ChangeKind::Updated } else { ChangeKind::Deleted },
            changes: None,
            at: moment(),
        };
        log.push((change, self.clock.now()));
        version
    }

    /// The last commit up to a moment.
    pub(super) fn as_of(&self, key: &EntityKey, at: Instant) -> Option<Commit> {
        self.commits.lock().get(key)?.iter().rev().find(|commit| commit.at <= at).copied()
    }

    pub(super) fn newest(&self, key: &EntityKey) -> Option<Commit> {
        self.commits.lock().get(key)?.last().copied()
    }

    /// Everything up to now.
    pub(super) fn place(&self) -> Place {
        Place { timeline: 1, position: self.log.lock().len() as u64 }
    }

    /// The moment that a replica shows, if it may answer: every answer is judged.
    fn replica(&self, as_of: AsOf) -> Option<Instant> {
        let shown = self.clock.now().checked_sub(Duration::from_millis((*self.replica.lock())?))?;
        let replayed = self.log.lock().iter().filter(|(_, at)| *at <= shown).count() as u64;
        match as_of {
            AsOf::Now => None,
            AsOf::Recently => Some(shown),
            AsOf::Place(place) => (replayed >= place.position).then_some(shown),
        }
    }

    /// The version of the last deletion.
    pub(super) fn deletions(&self, key: &EntityKey) -> Option<Version> {
        self.commits.lock().get(key)?.iter().rev().find(|commit| !commit.lives).map(|commit| commit.version)
    }

    /// As a restore from an older backup does: all but the first so many changes are lost, and nothing says so.
    pub(super) fn take_back(&self, to: usize) {
        let mut log = self.log.lock();
        log.truncate(to);
        self.head.store(self.head.load(Ordering::Relaxed).min(to), Ordering::Relaxed);
        let mut commits = self.commits.lock();
        commits.clear();
        for (change, at) in log.iter() {
            let commit = Commit { at: *at, version: change.version, lives: change.kind != ChangeKind::Deleted };
            commits.entry(change.key.clone()).or_default().push(commit);
        }
    }

    fn state(&self) -> FeedState {
        let head = FeedPosition(i64::try_from(self.head.load(Ordering::Relaxed)).unwrap());
        let run = self.run.load(Ordering::Relaxed);
        FeedState { incarnation: *self.incarnation.lock(), run, trimmed: FeedPosition(0), head }
    }

    fn answers(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Relaxed) { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }

    pub(super) fn release(&self, index: usize) {
        if let Some(held) = &mut *self.held.lock()
            && index < held.len()
        {
            let _ = held.swap_remove(index).send(());
        }
    }
}

pub(super) fn moment() -> Moment {
    Moment::from_micros(1_700_000_000_000_000)
}

#[async_trait]
impl Entities for FakeStore {
    async fn commit(&self, _: &TenantId, _: Changeset, _: Deadline) -> Result<Receipt, CommitError> {
        unreachable!("tests write behind the port")
    }

    async fn view(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<EntityView>, StoreError> {
        self.view_as_of(tenant, key, AsOf::Now, deadline).await.map(|seen| seen.found)
    }

    async fn entity(&self, _: &TenantId, _: &EntityKey, _: Deadline) -> Result<Option<Entity>, StoreError> {
        unreachable!("not read here")
    }

    async fn list(&self, _: &TenantId, _: &ListQuery, _: Deadline) -> Result<Vec<EntityView>, StoreError> {
        unreachable!("not read here")
    }
}

#[async_trait]
impl Replicas for FakeStore {
    fn has_replicas(&self) -> bool {
        true
    }

    async fn view_as_of(
        &self,
        _: &TenantId,
        key: &EntityKey,
        as_of: AsOf,
        _: Deadline,
    ) -> Result<Seen<Option<EntityView>>, StoreError> {
        self.answers()?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        let _loading = Loading::begin(self);
        let replica = self.replica(as_of);
        let seen = replica.map_or_else(|| self.newest(key), |at| self.as_of(key, at));
        let held = self.held.lock().as_mut().map(|held| {
            let (release, released) = oneshot::channel();
            held.push(release);
            released
        });
        match held {
            Some(held) => drop(held.await),
            None => tokio::task::yield_now().await,
        }
        let found = seen.filter(|commit| commit.lives).map(|commit| EntityView {
            key: key.clone(),
            id: 1,
            version: commit.version,
            created_at: moment(),
            updated_at: moment(),
            properties: Properties::from_stored(format!(r#"{{"v":{}}}"#, commit.version.get())),
        });
        Ok(Seen { found, by: if replica.is_some() { By::Replica } else { By::Primary } })
    }
}

struct Loading<'a>(&'a FakeStore);

impl<'a> Loading<'a> {
    fn begin(store: &'a FakeStore) -> Self {
        let now = store.loading.fetch_add(1, Ordering::Relaxed) + 1;
        store.most_loading.fetch_max(now, Ordering::Relaxed);
        Self(store)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.loading.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Feed for FakeStore {
    async fn number_feed(&self, _: Deadline) -> Result<Numbered, StoreError> {
        self.answers()?;
        let stuck = self.stuck.load(Ordering::Relaxed);
        if !stuck {
            self.head.store(self.log.lock().len(), Ordering::Relaxed);
        }
        Ok(Numbered { state: self.state(), complete: !stuck })
    }

    async fn feed_after(&self, position: FeedPosition, limit: usize, _: Detail, _: Deadline) -> Result<FeedPage, StoreError> {
        self.answers()?;
        if self.restless.load(Ordering::Relaxed) {
            self.write(&key(999), true);
            self.head.store(self.log.lock().len(), Ordering::Relaxed);
        }
        let state = self.state();
        if !state.covers(position) {
            return Ok(FeedPage { state, changes: Vec::new(), unread: None });
        }
        let log = self.log.lock();
        let from = usize::try_from(position.0).unwrap();
        let to = usize::try_from(state.head.0).unwrap().min(from + limit);
        let changes = log[from..to].iter().map(|(change, _)| change.clone()).collect();
        let unread = log.get(to).map(|(_, at)| self.clock.now() - *at);
        Ok(FeedPage { state, changes, unread })
    }

    async fn trim_feed(&self, _: Moment, _: Deadline) -> Result<FeedState, StoreError> {
        Ok(self.state())
    }

    async fn renew_feed(&self, _: Deadline) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Bulk for FakeStore {
    async fn email_owners(
        &self,
        _: &TenantId,
        _: &[EmailKey],
        _: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError> {
        unreachable!("not read here")
    }

    async fn is_empty(&self, _: &TenantId, _: Deadline) -> Result<bool, StoreError> {
        unreachable!("not read here")
    }

    async fn export(&self, _: &TenantId, _: &EntityType, _: Deadline) -> Result<EntityStream, StoreError> {
        unreachable!("not read here")
    }

    async fn tenants(&self, _: Deadline) -> Result<Vec<TenantId>, StoreError> {
        unreachable!("not read here")
    }

    async fn outdated(
        &self,
        _: &TenantId,
        _: i32,
        _: Option<&EntityKey>,
        _: usize,
        _: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError> {
        unreachable!("not read here")
    }
}

profile_port_contracts::tasks_in_a_table!(FakeStore, |store| store.tasks.lock());

#[async_trait]
impl Secrets for FakeStore {
    async fn secrets(&self, _: [u8; 32], _: Deadline) -> Result<Vec<SecretKey>, StoreError> {
        unreachable!("nothing is signed here")
    }

    async fn rotate_secrets(&self, _: [u8; 32], _: Deadline) -> Result<(), StoreError> {
        unreachable!("nothing is signed here")
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn ping(&self, _: Deadline) -> Result<(), StoreError> {
        self.answers()
    }
}

/// The shared tier, which may fail, and go back to what it was.
pub(super) struct SharedCache {
    settings: profile_memory::Settings,
    now: Mutex<Arc<MemoryCache>>,
    pub(super) fails: AtomicBool,
}

impl SharedCache {
    fn new(settings: profile_memory::Settings) -> Self {
        Self { now: Mutex::new(fresh(&settings)), settings, fails: AtomicBool::new(false) }
    }

    /// As a server that was restarted without what it held.
    pub(super) fn empty(&self) {
        *self.now.lock() = fresh(&self.settings);
    }

    fn cache(&self) -> Result<Arc<MemoryCache>, CacheError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(CacheError::TimedOut);
        }
        Ok(Arc::clone(&self.now.lock()))
    }
}

fn fresh(settings: &profile_memory::Settings) -> Arc<MemoryCache> {
    Arc::new(MemoryCache::new(settings, &prometheus::Registry::new()).unwrap())
}

#[async_trait]
impl Cache for SharedCache {
    fn parts(&self) -> u16 {
        self.now.lock().parts()
    }

    fn part_of(&self, tenant: &TenantId, key: &EntityKey) -> u16 {
        self.now.lock().part_of(tenant, key)
    }

    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a EntityKey) -> Answer<'a, Got> {
        Answer::Right(Box::pin(async move {
            let cache = self.cache()?;
            tokio::task::yield_now().await;
            let got = cache.get(tenant, key).await;
            tokio::task::yield_now().await;
            got
        }))
    }

    async fn put(&self, tenant: &TenantId, key: &EntityKey, ticket: Ticket, fill: Fill) -> Result<Put, CacheError> {
        let cache = self.cache()?;
        tokio::task::yield_now().await;
        cache.put(tenant, key, ticket, fill).await
    }

    async fn remove(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError> {
        self.cache()?.remove(tenant, key).await
    }

    async fn invalidate(&self, changes: &[Change]) -> Result<(), CacheError> {
        let cache = self.cache()?;
        tokio::task::yield_now().await;
        cache.invalidate(changes).await
    }

    async fn mark(&self, part: u16) -> Result<Option<Mark>, CacheError> {
        self.cache()?.mark(part).await
    }

    async fn follow(&self, part: u16, step: &Step<'_>) -> Result<Option<Mark>, CacheError> {
        let cache = self.cache()?;
        tokio::task::yield_now().await;
        cache.follow(part, step).await
    }

    async fn begin(&self, part: u16, begin: &Begin) -> Result<Option<Mark>, CacheError> {
        self.cache()?.begin(part, begin).await
    }
}

pub(super) struct Instance {
    pub(super) reads: Arc<Reads>,
    pub(super) follower: Follower,
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) store: Arc<FakeStore>,
    pub(super) shared: Arc<SharedCache>,
    pub(super) instances: Vec<Instance>,
}

impl World {
    /// So many instances, each with a first tier of a few entries, and what they share.
    pub(super) fn new(instances: usize, entries: usize) -> Self {
        let clock = Clock::new();
        let store = Arc::new(FakeStore::new(clock.clone()));
        let settings = |entries| {
            let clock = clock.clone();
            profile_memory::Settings {
                schema: SCHEMA,
                entries,
                // Enough of each for as many parts as the entries make.
                bytes: entries << 14,
                absences: entries.max(100),
                floors: entries.max(64) << 4,
                spans: SPANS,
                now: Arc::new(move || clock.now()),
            }
        };
        let shared = Arc::new(SharedCache::new(settings(entries * 2)));
        let instance = || {
            let first = fresh(&settings(entries));
            let caches = vec![
                NamedCache { name: "first", cache: first, in_process: true },
                NamedCache { name: "shared", cache: Arc::clone(&shared) as Arc<dyn Cache>, in_process: false },
            ];
            let clock = clock.clone();
            let settings = ReadSettings { now: Arc::new(move || clock.now()), ..ReadSettings::default() };
            let runtime = tokio::runtime::Handle::current();
            let reads = Reads::new(Arc::clone(&store) as Arc<dyn Store>, moment, caches, settings, Some(runtime));
            Instance { reads: Arc::new(reads), follower: Follower::default() }
        };
        let instances = (0..instances).map(|_| instance()).collect();
        Self { clock, store, shared, instances }
    }

    pub(super) async fn follow(&mut self, instance: usize) {
        let Instance { reads, follower } = &mut self.instances[instance];
        reads.follow_once(follower).await;
    }

    /// Until everything may be filled.
    pub(super) async fn warm_up(&mut self) {
        for instance in 0..self.instances.len() {
            self.follow(instance).await;
        }
        self.clock.pass(SPANS.lag);
        for instance in 0..self.instances.len() {
            self.follow(instance).await;
        }
    }

    /// As a use case does it.
    pub(super) async fn write(&self, instance: usize, key: &EntityKey, lives: bool) -> Version {
        let reads = &self.instances[instance].reads;
        let tenant = TenantId::default_tenant();
        let before = reads.before_commit(&tenant, key).await;
        let version = self.store.write(key, lives);
        let living = lives.then(|| (ProfileBody { version, json: "{}".into() }, moment()));
        reads.committed(before, &tenant, key.clone(), version, living).await;
        version
    }

    /// The version that a read shows; 0: none.
    pub(super) async fn read(&self, instance: usize, key: &EntityKey, freshness: Freshness) -> Result<i64, StoreError> {
        read(Arc::clone(&self.instances[instance].reads), key.clone(), freshness).await
    }
}

pub(super) async fn read(reads: Arc<Reads>, key: EntityKey, freshness: Freshness) -> Result<i64, StoreError> {
    let deadline = Deadline::within(Duration::from_mins(1));
    let found = reads.profile(&TenantId::default_tenant(), &key, freshness, deadline).await?;
    Ok(found.body.map_or(0, |body| body.version.get()))
}

pub(super) fn key(number: u128) -> EntityKey {
    EntityKey::profile(ProfileId(Uuid::from_u128(number)))
}

/// Lets everything that can go on do so.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
