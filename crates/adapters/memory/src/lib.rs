//! The cache in this process, and [`NoCache`]; and the queue in this process, [`MemoryQueue`].
//!
//! Every key has one hash, which names its shard; a shard is a part as the port means it: a lock around entries, absences,
//! floors and mark, so that whatever must be compared and set together is. A hit costs one hash, one lock that is rarely waited
//! for, one look into a map and a reference; it allocates nothing and writes nothing that another shard's reader looks at.
//!
//! The bounds are divided among the shards and each keeps to its share, so that their sum can't be exceeded and no counter is
//! shared. Modules, in the order to read them: `shard`, `lru`, `floors`, `metrics`, `no_cache`; and,
//! apart from these, `queue`.

mod floors;
mod lru;
mod metrics;
mod no_cache;
mod queue;
mod shard;

use std::{
    fmt,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::DefaultHashBuilder;
use parking_lot::{Mutex, MutexGuard};
use profile_domain::{EntityKey, TenantId, Version};
use profile_ports::{
    Cache, CacheError,
    cache::{Answer, Begin, Change, Fill, Got, Mark, Namespace, Put, Spans, Step, Ticket, at_once},
};

use crate::{
    metrics::Metrics,
    shard::{Name, Shard},
};

pub use no_cache::NoCache;
pub use queue::MemoryQueue;

/// What the cache may hold.
#[derive(Clone)]
pub struct Settings {
    /// Names the form of the bytes; what is of another is no hit.
    pub schema: u32,
    /// Entries of what lives.
    pub entries: usize,
    /// Their bytes: what was put, the names, and [`ENTRY_BYTES`] each.
    pub bytes: usize,
    /// Entries of what isn't there.
    pub absences: usize,
    /// Versions that changes leave behind: as many as may change within [`Spans::floor`].
    pub floors: usize,
    /// What loads may take and miss.
    pub spans: Spans,
    /// The clock. It must not go backwards.
    pub now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

/// What an entry takes beside its bytes and names, about.
pub const ENTRY_BYTES: usize = 256;

/// Shards, at most: more than threads that could wait for one another.
const SHARDS: usize = 16;
/// Shares of the bounds below which they aren't divided further: what lands in one shard by chance must find room there.
const SHARE: Share = Share { entries: 64, bytes: 1 << 20, absences: 64, floors: 1024 };

struct Share {
    entries: usize,
    bytes: usize,
    absences: usize,
    floors: usize,
}

/// How much it holds, expired entries included until someone comes across them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Entries of what lives.
    pub entries: usize,
    /// Their bytes, as [`Settings::bytes`] counts them.
    pub bytes: usize,
    /// Entries of what isn't there.
    pub absences: usize,
    /// Versions left behind.
    pub floors: usize,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Gets that found something.
    pub hits: u64,
    /// Gets that found nothing.
    pub misses: u64,
    /// Entries, absences too, that made room for others.
    pub evictions: u64,
    /// Entries that were found expired.
    pub expired: u64,
    /// Entries that weren't what they should have been.
    pub unfit: u64,
    /// Beginnings because there were too many floors.
    pub overflows: u64,
}

/// The cache. It never fails.
pub struct MemoryCache {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
    epoch: Instant,
}

impl MemoryCache {
    /// An empty cache, whose parts nobody has begun. What it tells about itself is put into the registry.
    ///
    /// # Errors
    /// The registry has such a cache already.
    pub fn new(settings: &Settings, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let shards = shards(settings);
        let share = Settings {
            entries: settings.entries / shards,
            bytes: settings.bytes / shards,
            absences: settings.absences / shards,
            floors: settings.floors / shards,
            ..settings.clone()
        };
        let inner = Arc::new(Inner {
            shards: (0..shards).map(|_| Mutex::new(Shard::new(&share))).collect(),
            hasher: DefaultHashBuilder::default(),
            now: Arc::clone(&settings.now),
            epoch: (settings.now)(),
        });
        registry.register(Box::new(Metrics::of(Arc::clone(&inner))?))?;
        Ok(Self { inner })
    }

    /// How much it holds. Exact where nothing happens meanwhile, and never above the bounds.
    #[must_use]
    pub fn size(&self) -> Size {
        self.inner.size()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.counts()
    }

    /// Puts under a key what `put` never would. For tests: no other key has the same hash within reach, nor this process
    /// another schema.
    #[doc(hidden)]
    pub fn plant(
        &self,
        under: (&TenantId, &EntityKey),
        schema: u32,
        named: (&TenantId, &EntityKey),
        version: Version,
        bytes: Bytes,
    ) {
        let hash = self.inner.name(under.0, under.1).hash;
        let name = Name { hash, tenant: named.0, key: named.1 };
        let expires_at = self.inner.now() + Duration::from_mins(1);
        self.inner.shard(hash).plant(&name, schema, version, bytes, expires_at);
    }
}

fn shards(settings: &Settings) -> usize {
    let room = [
        settings.entries / SHARE.entries,
        settings.bytes / SHARE.bytes,
        settings.absences / SHARE.absences,
        settings.floors / SHARE.floors,
    ];
    room.into_iter().fold(SHARDS, usize::min).max(1)
}

impl Inner {
    fn now(&self) -> Duration {
        (self.now)().saturating_duration_since(self.epoch)
    }

    fn name<'a>(&self, tenant: &'a TenantId, key: &'a EntityKey) -> Name<'a> {
        Name { hash: self.hasher.hash_one((tenant, key)), tenant, key }
    }

    fn index(&self, hash: u64) -> usize {
        // The upper half: a shard's maps look at the lower first.
        usize::try_from(hash >> 32).unwrap_or_default() % self.shards.len()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[self.index(hash)].lock()
    }

    fn size(&self) -> Size {
        self.shards.iter().map(|shard| shard.lock().size()).fold(Size::default(), |sum, size| Size {
            entries: sum.entries + size.entries,
            bytes: sum.bytes + size.bytes,
            absences: sum.absences + size.absences,
            floors: sum.floors + size.floors,
        })
    }

    fn counts(&self) -> Counts {
        self.shards.iter().map(|shard| shard.lock().counts).fold(Counts::default(), |sum, counts| Counts {
            hits: sum.hits + counts.hits,
            misses: sum.misses + counts.misses,
            evictions: sum.evictions + counts.evictions,
            expired: sum.expired + counts.expired,
            unfit: sum.unfit + counts.unfit,
            overflows: sum.overflows + counts.overflows,
        })
    }
}

#[async_trait]
impl Cache for MemoryCache {
    fn parts(&self) -> u16 {
        u16::try_from(self.inner.shards.len()).expect("at most 16")
    }

    fn part_of(&self, tenant: &TenantId, key: &EntityKey) -> u16 {
        u16::try_from(self.inner.index(self.inner.name(tenant, key).hash)).expect("at most 16")
    }

    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a EntityKey) -> Answer<'a, Got> {
        let name = self.inner.name(tenant, key);
        let now = self.inner.now();
        let mut shard = self.inner.shard(name.hash);
        at_once(Got { hit: shard.get(now, &name), mark: shard.mark(now) })
    }

    async fn put(&self, tenant: &TenantId, key: &EntityKey, ticket: Ticket, fill: Fill) -> Result<Put, CacheError> {
        let name = self.inner.name(tenant, key);
        let now = self.inner.now();
        Ok(self.inner.shard(name.hash).put(now, &name, ticket, fill))
    }

    async fn remove(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError> {
        let hash = self.inner.name(tenant, key).hash;
        self.inner.shard(hash).remove(hash);
        Ok(())
    }

    async fn invalidate(&self, changes: &[Change]) -> Result<(), CacheError> {
        let now = self.inner.now();
        for change in changes {
            let hash = self.inner.name(&change.tenant, &change.key).hash;
            self.inner.shard(hash).invalidate(now, [(hash, change.version)]);
        }
        Ok(())
    }

    async fn mark(&self, part: u16) -> Result<Option<Mark>, CacheError> {
        Ok(self.inner.shards[usize::from(part)].lock().mark(self.inner.now()))
    }

    async fn follow(&self, part: u16, step: &Step<'_>) -> Result<Option<Mark>, CacheError> {
        let part = usize::from(part);
        let now = self.inner.now();
        let changes = step.changes.iter().map(|change| (self.inner.name(&change.tenant, &change.key).hash, change.version));
        let changes = changes.filter(|(hash, _)| self.inner.index(*hash) == part);
        let mut shard = self.inner.shards[part].lock();
        shard.follow(now, step, changes);
        Ok(shard.mark(now))
    }

    async fn begin(&self, part: u16, begin: &Begin) -> Result<Option<Mark>, CacheError> {
        let now = self.inner.now();
        let mut shard = self.inner.shards[usize::from(part)].lock();
        shard.begin(now, begin);
        Ok(shard.mark(now))
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryCache").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// One that was never given in this process.
fn next_namespace() -> Namespace {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Namespace(NEXT.fetch_add(1, Ordering::Relaxed).into())
}
