//! One part of the cache. Its caller holds the lock around it, so that every method here is one step.

use std::time::Duration;

use bytes::Bytes;
use profile_domain::{EntityKey, Incarnation, TenantId, Version};
use profile_ports::cache::{Begin, Fill, Hit, Mark, Namespace, Put, Spans, Standing, State, Step, Ticket};

use crate::{
    Counts, ENTRY_BYTES, Settings, Size,
    floors::{Floors, Full},
    lru::Lru,
    next_namespace,
};

/// Who an entry is about, and the number under which it lies.
pub(crate) struct Name<'a> {
    pub(crate) hash: u64,
    pub(crate) tenant: &'a TenantId,
    pub(crate) key: &'a EntityKey,
}

/// Times are since the cache was made.
pub(crate) struct Shard {
    schema: u32,
    spans: Spans,
    begun: Option<Begun>,
    living: Lru<Entry>,
    absent: Lru<Entry>,
    floors: Floors,
    pub(crate) counts: Counts,
}

struct Begun {
    namespace: Namespace,
    incarnation: Incarnation,
    position: i64,
    /// From when on tickets are given.
    opens_at: Duration,
}

/// Two keys may have one hash, so an entry says whose it is. It is then as if one had displaced the other.
struct Entry {
    schema: u32,
    tenant: TenantId,
    key: EntityKey,
    state: State,
    expires_at: Duration,
}

impl Entry {
    fn fits(&self, schema: u32, name: &Name<'_>) -> bool {
        self.schema == schema && self.key == *name.key && self.tenant == *name.tenant
    }

    fn weight(&self) -> usize {
        let bytes = match &self.state {
            State::Living { bytes, .. } => bytes.len(),
            State::Absent { .. } => 0,
        };
        let names = [self.tenant.as_str(), self.key.entity_type.as_str(), self.key.reference.as_str()];
        ENTRY_BYTES + bytes + names.into_iter().map(str::len).sum::<usize>()
    }
}

impl Shard {
    pub(crate) fn new(share: &Settings) -> Self {
        Self {
            schema: share.schema,
            spans: share.spans,
            begun: None,
            living: Lru::bounded(share.entries, share.bytes),
            absent: Lru::bounded(share.absences, usize::MAX),
            floors: Floors::bounded(share.floors),
            counts: Counts::default(),
        }
    }

    pub(crate) fn get(&mut self, now: Duration, name: &Name<'_>) -> Option<Hit> {
        for entries in [&mut self.living, &mut self.absent] {
            let Some(entry) = entries.touch(name.hash) else { continue };
            let fits = entry.fits(self.schema, name);
            let left = entry.expires_at.saturating_sub(now);
            if fits && !left.is_zero() {
                self.counts.hits += 1;
                return Some(Hit { state: entry.state.clone(), expires_in: left });
            }
            entries.remove(name.hash);
            *(if fits { &mut self.counts.expired } else { &mut self.counts.unfit }) += 1;
        }
        self.counts.misses += 1;
        None
    }

    pub(crate) fn mark(&self, now: Duration) -> Option<Mark> {
        let Begun { namespace, incarnation, position, opens_at } = *self.begun.as_ref()?;
        let ticket = (now >= opens_at).then_some(Ticket { namespace, at: now });
        Some(Mark { namespace, incarnation, position, ticket })
    }

    pub(crate) fn put(&mut self, now: Duration, name: &Name<'_>, ticket: Ticket, fill: Fill) -> Put {
        if !self.admits(now, ticket) {
            return Put::Late;
        }
        let version = fill.state.version();
        if version < self.floors.of(now, name.hash).max(self.held(name)) {
            return Put::Older;
        }
        if let (Standing::Fresh, Some(version)) = (fill.standing, version)
            && self.floors.raise(now, now + self.spans.floor(), name.hash, version) == Err(Full)
        {
            self.overflow(now);
            return Put::Late;
        }
        self.remove(name.hash);
        let (entries, state) = match fill.state {
            State::Living { version, bytes } => (&mut self.living, State::Living { version, bytes: exact(&bytes) }),
            absent @ State::Absent { .. } => (&mut self.absent, absent),
        };
        let expires_at = now.saturating_add(fill.expires_in);
        let entry = Entry { schema: self.schema, tenant: name.tenant.clone(), key: name.key.clone(), state, expires_at };
        let weight = entry.weight();
        match entries.insert(name.hash, entry, weight) {
            Some(evicted) => {
                self.counts.evictions += evicted;
                Put::Stored
            }
            None => Put::TooLarge,
        }
    }

    fn admits(&self, now: Duration, ticket: Ticket) -> bool {
        let current = self.begun.as_ref().is_some_and(|begun| begun.namespace == ticket.namespace);
        current && now.saturating_sub(ticket.at) <= self.spans.load
    }

    /// The version that an entry of this name has, expired or not.
    fn held(&self, name: &Name<'_>) -> Option<Version> {
        let entry = self.living.peek(name.hash).or_else(|| self.absent.peek(name.hash))?;
        if entry.fits(self.schema, name) { entry.state.version() } else { None }
    }

    pub(crate) fn remove(&mut self, hash: u64) {
        self.living.remove(hash);
        self.absent.remove(hash);
    }

    /// What is one floor too many ends this: who gets a ticket later sees all these changes.
    pub(crate) fn invalidate(&mut self, now: Duration, changes: impl IntoIterator<Item = (u64, Version)>) {
        let until = now + self.spans.floor();
        for (hash, version) in changes {
            for entries in [&mut self.living, &mut self.absent] {
                if entries.peek(hash).is_some_and(|entry| entry.state.version() < Some(version)) {
                    entries.remove(hash);
                }
            }
            if self.floors.raise(now, until, hash, version) == Err(Full) {
                return self.overflow(now);
            }
        }
    }

    pub(crate) fn follow(&mut self, now: Duration, step: &Step<'_>, changes: impl Iterator<Item = (u64, Version)>) {
        let Some(begun) = &mut self.begun else { return };
        if begun.incarnation == step.incarnation && step.from <= begun.position && begun.position < step.to {
            begun.position = step.to;
            self.invalidate(now, changes);
        }
    }

    pub(crate) fn begin(&mut self, now: Duration, begin: &Begin) {
        let Begin { instead_of, incarnation, position, quiet } = *begin;
        if self.begun.as_ref().map(|begun| begun.namespace) == instead_of {
            self.clear();
            self.begun = Some(Begun { namespace: next_namespace(), incarnation, position, opens_at: now + quiet });
        }
    }

    fn overflow(&mut self, now: Duration) {
        self.counts.overflows += 1;
        self.clear();
        if let Some(begun) = &mut self.begun {
            begun.namespace = next_namespace();
            begun.opens_at = begun.opens_at.max(now + self.spans.lag);
        }
    }

    fn clear(&mut self) {
        self.living.clear();
        self.absent.clear();
        self.floors.clear();
    }

    pub(crate) fn size(&self) -> Size {
        Size { entries: self.living.len(), bytes: self.living.used(), absences: self.absent.len(), floors: self.floors.len() }
    }

    pub(crate) fn plant(&mut self, name: &Name<'_>, schema: u32, version: Version, bytes: Bytes, expires_at: Duration) {
        let state = State::Living { version, bytes };
        let entry = Entry { schema, tenant: name.tenant.clone(), key: name.key.clone(), state, expires_at };
        let weight = entry.weight();
        self.remove(name.hash);
        self.living.insert(name.hash, entry, weight);
    }
}

/// A copy that holds on to these bytes and no others, and to which a reference is made without allocating.
fn exact(bytes: &Bytes) -> Bytes {
    let copy = Bytes::copy_from_slice(bytes);
    // The first reference makes the counter.
    drop(copy.clone());
    copy
}
