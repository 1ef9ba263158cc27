//! The cache in Redis, which instances share: one server, a master that sentinels watch, or a cluster.
//!
//! Every key belongs to a part. A part has one state key, a hash of namespace, incarnation, position and floors, so that
//! eviction, a failover and an old dump take all of these or none; and entries, one key each, with the namespace in their
//! names. Everything that must be compared and set together is one script over the keys of one part, which a cluster keeps in
//! one slot. Times are the server's (`TIME`).
//!
//! A read is one pipeline over one connection: the part's state, then the entry. A server runs the commands of a connection in
//! their order, so the mark was true before the entry was looked up, which is all that is promised; both at once (`MULTI`) would
//! add two commands and nothing else. As the entry's key contains the namespace, which only the state tells, the one last seen
//! is tried; where the state names another, the read is repeated with it.
//!
//! Modules, in the order to read them: `settings`, `names`, `entry`, `scripts` (with `scripts/part.lua`), `part`, `client`,
//! `nodes`, `connections`, `dial`, `cleanup`, `timelines`, `metrics`.

mod cleanup;
mod client;
mod connections;
mod dial;
mod entry;
mod metrics;
mod names;
mod nodes;
mod part;
mod scripts;
mod settings;
mod timelines;

use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::{Either, FutureExt as _, try_join_all};
use profile_domain::{EntityKey, TenantId, Version};
use profile_ports::{
    Cache, CacheError,
    cache::{Answer, Begin, Change, Fill, Got, Hit, Mark, Put, Standing, Step, Ticket},
};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    client::{AGAIN, Client, micros, refused, senseless},
    entry::{Life, version_bytes},
    names::Name,
    part::{Head, era_and_time, position_bytes},
};

pub use cleanup::Cleaned;
pub use settings::{Address, Mode, OPERATION_TIMEOUT, RedisSettings, SettingsError, Tls};

/// How often an operation begins again that finds a part in another namespace than it thought.
const TRIES: usize = 3;
/// Changes that one script takes ahead of the feed. A step along the feed is not divided: it must be whole.
const CHUNK: usize = 500;

/// The cache. It is made without a server, and works while there is one.
pub struct RedisCache {
    client: Arc<Client>,
}

impl RedisCache {
    /// Connects to nothing yet. What the cache tells about itself is put into the registry.
    ///
    /// # Errors
    /// The settings can't work, or the registry has such a cache already.
    pub fn new(settings: &RedisSettings, registry: &prometheus::Registry) -> Result<Self, SettingsError> {
        Ok(Self { client: Arc::new(Client::new(settings, registry)?) })
    }

    /// Deletes entries that were written longer ago than this, of whatever schema and namespace, and what can't be read where
    /// entries lie: over all masters, looking at so many keys per second at most. Tells after every batch how far it is.
    ///
    /// # Errors
    /// See [`CacheError`]; then some were deleted.
    pub async fn cleanup(
        &self,
        older_than: Duration,
        per_second: NonZeroU32,
        progress: impl FnMut(Cleaned) + Send,
    ) -> Result<Cleaned, CacheError> {
        self.client.cleanup(older_than, per_second, progress).await
    }

    /// The key under which the entry lies or would lie now, and that of its part: for tests that put something there.
    #[doc(hidden)]
    pub async fn keys(&self, tenant: &TenantId, key: &EntityKey) -> Result<(String, String), CacheError> {
        let name = Name::of(tenant, key);
        let part = self.client.names.part_of(&name);
        let head = self.client.look(part, self.client.deadline()).await?.head;
        let namespace = head.ok_or_else(|| senseless("the part hasn't begun"))?.namespace;
        Ok((self.client.names.entry(namespace, &name), self.client.names.part(part).to_owned()))
    }

    async fn find(&self, name: &Name) -> Result<Got, CacheError> {
        let client = &self.client;
        let part = client.names.part_of(name);
        let deadline = client.deadline();
        let mut last = None;
        for _ in 0..TRIES {
            let Some(namespace) = client.memory(part).namespace() else {
                if client.look(part, deadline).await?.head.is_none() {
                    return Ok(Got { hit: None, mark: None });
                }
                continue;
            };
            let key = client.names.entry(namespace, name);
            let [state, entry] = client.ask(part, deadline, || self.read(part, &key)).await?;
            let Some(head) = Head::read(&state) else {
                return match &state {
                    Value::ServerError(error) if !client::is_of_another_type(&state) => Err(refused(error)),
                    _ => {
                        client.memory(part).expect(None);
                        Ok(Got { hit: None, mark: None })
                    }
                };
            };
            last = Some(head);
            if head.namespace != namespace {
                client.memory(part).expect(Some(head.namespace));
                continue;
            }
            let Some(now) = client.memory(part).now(&head) else {
                client.look(part, deadline).await?;
                continue;
            };
            let hit = self.hit(part, name, &key, entry, now, deadline).await;
            return Ok(Got { hit, mark: Some(head.mark(Some(now))) });
        }
        Ok(Got { hit: None, mark: last.map(|head| head.mark(None)) })
    }

    /// Reads no more of an entry than a right one can have.
    fn read(&self, part: u16, key: &str) -> [Cmd; 2] {
        let mut state = redis::cmd("HGET");
        state.arg(self.client.names.part(part)).arg("h");
        let mut entry = redis::cmd("GETRANGE");
        entry.arg(key).arg(0).arg(self.client.form.too_long() - 1);
        [state, entry]
    }

    async fn hit(&self, part: u16, name: &Name, key: &str, entry: Value, now: u64, deadline: Instant) -> Option<Hit> {
        let form = self.client.form;
        let found = match entry {
            Value::BulkString(entry) if entry.is_empty() => return None,
            Value::BulkString(entry) if entry.len() < form.too_long() => form.read(name, entry),
            Value::BulkString(_) => None,
            other if client::is_of_another_type(&other) => None,
            // While a cluster moves keys, the entry may be elsewhere already.
            _ => return None,
        };
        let Some(found) = found else {
            self.client.metrics.unfit.inc();
            // If it stays, the next who comes across it removes it.
            let removal = || {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(key);
                [unlink]
            };
            let _ = self.client.ask(part, deadline, removal).await;
            return None;
        };
        // Redis sees to it that nothing stays beyond its time.
        let left = found.life.expires_at.saturating_sub(now / 1_000).min(found.life.expires_at - found.life.written_at);
        Some(Hit { state: found.state, expires_in: Duration::from_millis(left) })
    }

    /// Repeats a script with another namespace in its keys' names for as long as the part's is another. `None` if no part has
    /// begun.
    async fn in_its_namespace(
        &self,
        part: u16,
        script: &scripts::Script,
        call: impl Fn(profile_ports::cache::Namespace) -> scripts::Call + Send,
    ) -> Result<Option<client::Answer>, CacheError> {
        let deadline = self.client.deadline();
        for _ in 0..TRIES {
            let Some(namespace) = self.client.memory(part).namespace() else {
                if self.client.look(part, deadline).await?.head.is_none() {
                    return Ok(None);
                }
                continue;
            };
            let answer = self.client.script(part, deadline, script, &call(namespace)).await?;
            if answer.outcome != AGAIN {
                return Ok(Some(answer));
            }
        }
        Err(senseless("the part begins anew again and again"))
    }
}

fn mark(answer: &client::Answer) -> Option<Mark> {
    answer.head.map(|head| head.mark(Some(answer.now)))
}

#[async_trait]
impl Cache for RedisCache {
    fn parts(&self) -> u16 {
        self.client.names.parts()
    }

    fn part_of(&self, tenant: &TenantId, key: &EntityKey) -> u16 {
        self.client.names.part_of(&Name::of(tenant, key))
    }

    fn get<'a>(&'a self, tenant: &'a TenantId, key: &'a EntityKey) -> Answer<'a, Got> {
        let name = Name::of(tenant, key);
        let got = async move {
            let got = self.find(&name).await?;
            let metrics = &self.client.metrics;
            (if got.hit.is_some() { &metrics.hits } else { &metrics.misses }).inc();
            Ok(got)
        };
        Either::Right(got.boxed())
    }

    async fn put(&self, tenant: &TenantId, key: &EntityKey, ticket: Ticket, fill: Fill) -> Result<Put, CacheError> {
        let client = &self.client;
        let name = Name::of(tenant, key);
        let part = client.names.part_of(&name);
        let (era, at) = era_and_time(&ticket);
        let written_at = client.memory(part).time(era).unwrap_or(at) / 1_000;
        let expires_in = u64::try_from(fill.expires_in.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST_LIFE);
        let life = Life { written_at, expires_at: written_at + expires_in };
        let version = fill.state.version();
        let fresh = fill.standing == Standing::Fresh && version.is_some();
        let time = [&era.to_be_bytes()[..], &at.to_be_bytes(), &expires_in.to_be_bytes()].concat();
        let call = client
            .call(part)
            .key(client.names.entry(ticket.namespace, &name))
            .with(ticket.namespace.0.to_be_bytes())
            .with(time)
            .with(client.form.signature(&name))
            .with(version_bytes(version))
            .with(if fresh { *b"1" } else { *b"0" })
            .with(client.form.write(&name, &fill.state, life).unwrap_or_default());
        match client.script(part, client.deadline(), &scripts::PUT, &call).await?.outcome {
            1 => Ok(Put::Stored),
            2 => Ok(Put::Older),
            3 => Ok(Put::Late),
            4 => Ok(Put::TooLarge),
            _ => Err(senseless("a script's answer has an unknown form")),
        }
    }

    async fn remove(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError> {
        let name = Name::of(tenant, key);
        let part = self.client.names.part_of(&name);
        let call = |namespace: profile_ports::cache::Namespace| {
            self.client.call(part).key(self.client.names.entry(namespace, &name)).with(namespace.0.to_be_bytes())
        };
        self.in_its_namespace(part, &scripts::REMOVE, call).await.map(|_| ())
    }

    async fn invalidate(&self, changes: &[Change]) -> Result<(), CacheError> {
        let mut parts: BTreeMap<u16, Vec<(Name, Version)>> = BTreeMap::new();
        for change in changes {
            let name = Name::of(&change.tenant, &change.key);
            parts.entry(self.client.names.part_of(&name)).or_default().push((name, change.version));
        }
        let parts = parts.into_iter().map(|(part, changes)| async move {
            for changes in changes.chunks(CHUNK) {
                let call = |namespace| self.client.call_with_changes(part, namespace, changes);
                self.in_its_namespace(part, &scripts::INVALIDATE, call).await?;
            }
            Ok::<_, CacheError>(())
        });
        try_join_all(parts).await.map(|_| ())
    }

    async fn mark(&self, part: u16) -> Result<Option<Mark>, CacheError> {
        self.client.look(part, self.client.deadline()).await.map(|answer| mark(&answer))
    }

    async fn follow(&self, part: u16, step: &Step<'_>) -> Result<Option<Mark>, CacheError> {
        let changes: Vec<(Name, Version)> = step
            .changes
            .iter()
            .map(|change| (Name::of(&change.tenant, &change.key), change.version))
            .filter(|(name, _)| self.client.names.part_of(name) == part)
            .collect();
        let call = |namespace| {
            self.client
                .call_with_changes(part, namespace, &changes)
                .with(step.incarnation.0.to_be_bytes())
                .with(position_bytes(step.from))
                .with(position_bytes(step.to))
        };
        let answer = self.in_its_namespace(part, &scripts::FOLLOW, call).await?;
        Ok(answer.as_ref().and_then(mark))
    }

    async fn begin(&self, part: u16, begin: &Begin) -> Result<Option<Mark>, CacheError> {
        let instead_of = begin.instead_of.map_or_else(Vec::new, |namespace| namespace.0.to_be_bytes().into());
        let call = self
            .client
            .call(part)
            .with(instead_of)
            .with(begin.incarnation.0.to_be_bytes())
            .with(position_bytes(begin.position))
            .with(micros(begin.quiet).to_be_bytes());
        self.client.script(part, self.client.deadline(), &scripts::BEGIN, &call).await.map(|answer| mark(&answer))
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisCache").field("parts", &self.parts()).finish_non_exhaustive()
    }
}

/// Milliseconds: a year.
const LONGEST_LIFE: u64 = 365 * 24 * 3_600 * 1_000;

/// From the system's generator, so that no two processes give one namespace.
fn random<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    getrandom::fill(&mut random).expect("the system gives random numbers");
    random
}

fn random_byte() -> u8 {
    let [byte] = random();
    byte
}
