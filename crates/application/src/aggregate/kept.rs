//! Answers that are kept: by tenant, view, id, sections and all that configuration says, for a time.
//!
//! Complete ones in every tier, for their view's time and, to be served where no source answers, for as long again as stale
//! answers may be served. Incomplete ones in the nearest tier only, under a name of their own, so that none takes a complete
//! one's place.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join;
use parking_lot::Mutex;
use profile_domain::{
    EntityKey, EntityType, Moment, ProfileId, Reference, SourceName, TenantId, Version,
    views::{Section, ViewName},
};
use profile_ports::{CacheError, Deadline, cache::Ticket};
use tokio::time::timeout;

use crate::App;

use super::{
    Job, RETRY_AFTER, ViewAnswer, ViewOrigin,
    answer::{Outcome, Worth},
};

/// Of its time, what an answer may be short of, so that what was filled together doesn't expire together.
const JITTER: f64 = 0.1;
/// The longest time of a view: a drop is remembered for longer than what it drops.
const LONGEST: Duration = Duration::from_hours(24 * 31);
/// How long the store may take to say whether an answer is still what it was, at most; less where its view has little time.
const LONGEST_CHECK: Duration = Duration::from_millis(50);
/// What a version in the store is where it wasn't asked.
const NOT_ASKED: i64 = -1;
const HEAD: usize = 3 * size_of::<i64>() + size_of::<u16>();

/// When views were dropped last, as far as this process knows.
#[derive(Default)]
pub(super) struct Drops(Mutex<HashMap<(TenantId, ViewName), Moment>>);

impl Drops {
    fn last(&self, tenant: &TenantId, view: ViewName) -> Option<Moment> {
        let drops = self.0.lock();
        if drops.is_empty() { None } else { drops.get(&(tenant.clone(), view)).copied() }
    }

    fn note(&self, tenant: &TenantId, view: ViewName, at: Moment) {
        let mut drops = self.0.lock();
        let last = drops.entry((tenant.clone(), view)).or_insert(at);
        *last = at.max(*last);
    }
}

/// What a tier keeps that can be used.
pub(super) enum Found {
    Fresh {
        answer: ViewAnswer,
        expires_in: Duration,
        /// As it is kept.
        entry: Bytes,
    },
    /// Complete, and past its time.
    Stale(ViewAnswer),
}

impl Found {
    pub(super) fn fresh(self) -> Option<ViewAnswer> {
        match self {
            Self::Fresh { answer, .. } => Some(answer),
            Self::Stale(_) => None,
        }
    }
}

/// What all tiers keep.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) fresh: Option<ViewAnswer>,
    pub(super) stale: Option<ViewAnswer>,
    pub(super) tickets: Tickets,
}

/// To put something where nothing was dropped meanwhile.
#[derive(Default)]
pub(super) struct Tickets {
    /// By tier; empty where nothing is kept.
    complete: Vec<Option<Ticket>>,
    /// For an incomplete answer, in the nearest tier. Its name is another one, so no other ticket is good for it.
    part: Option<Ticket>,
}

/// An answer as it is kept.
struct Entry {
    made_at: Moment,
    fresh_until: Moment,
    stored: i64,
    unavailable: Vec<SourceName>,
    body: Bytes,
}

impl Entry {
    fn bytes(&self) -> Bytes {
        let unavailable = self.unavailable.iter().map(SourceName::as_str).collect::<Vec<_>>().join(" ");
        let mut bytes = BytesMut::with_capacity(HEAD + unavailable.len() + self.body.len());
        bytes.put_i64(self.made_at.as_micros());
        bytes.put_i64(self.fresh_until.as_micros());
        bytes.put_i64(self.stored);
        bytes.put_u16(u16::try_from(unavailable.len()).unwrap_or_default());
        bytes.put_slice(unavailable.as_bytes());
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD {
            return None;
        }
        let (made_at, fresh_until) = (Moment::from_micros(bytes.get_i64()), Moment::from_micros(bytes.get_i64()));
        let stored = bytes.get_i64();
        let length = usize::from(bytes.get_u16());
        if bytes.len() < length {
            return None;
        }
        let names = bytes.split_to(length);
        let names = std::str::from_utf8(&names).ok()?.split_ascii_whitespace();
        let unavailable = names.map(|name| SourceName::parse(name).ok()).collect::<Option<_>>()?;
        Some(Self { made_at, fresh_until, stored, unavailable, body: bytes })
    }
}

impl Job {
    fn is_kept(&self) -> bool {
        let (view, _) = self.panel();
        self.question.period.is_none() && !view.ttl.is_zero() && self.app.reads.depth() > 0
    }

    fn key(&self, prefix: &str) -> Option<EntityKey> {
        key(prefix, &self.loaded.fingerprint, self.question.view, &self.question.sections, &self.question.id)
    }

    /// What the nearest tier keeps.
    pub(super) async fn nearest(&self, deadline: Deadline) -> Option<Found> {
        if !self.is_kept() {
            return None;
        }
        let complete = self.at(0, "view", deadline).await.0;
        match complete {
            Some(Found::Fresh { .. }) => complete,
            _ => self.at(0, "part", deadline).await.0.or(complete),
        }
    }

    /// What any tier keeps, and the tickets to put something there.
    pub(super) async fn look(&self, deadline: Deadline) -> Looked {
        let mut looked = Looked::default();
        if !self.is_kept() {
            return looked;
        }
        for tier in 0..self.app.reads.depth() {
            let (found, ticket) = self.at(tier, "view", deadline).await;
            looked.tickets.complete.push(ticket);
            match found {
                Some(Found::Fresh { answer, expires_in, entry }) => {
                    self.bring_near(&entry, expires_in, &looked.tickets.complete[..tier]).await;
                    looked.fresh = Some(answer);
                    return looked;
                }
                Some(Found::Stale(answer)) => looked.stale = looked.stale.or(Some(answer)),
                None => {}
            }
        }
        if let Some(key) = self.key("part") {
            looked.tickets.part = self.app.reads.kept(0, &self.tenant, &key).await.ticket;
        }
        looked
    }

    /// The tickets alone, for a complete answer.
    pub(super) async fn tickets(&self) -> Tickets {
        let mut tickets = Tickets::default();
        if let (true, Some(key)) = (self.is_kept(), self.key("view")) {
            for tier in 0..self.app.reads.depth() {
                tickets.complete.push(self.app.reads.kept(tier, &self.tenant, &key).await.ticket);
            }
        }
        tickets
    }

    async fn at(&self, tier: usize, prefix: &str, deadline: Deadline) -> (Option<Found>, Option<Ticket>) {
        let Some(key) = self.key(prefix) else { return (None, None) };
        let reads = &self.app.reads;
        let kept = if reads.is_shared(tier) {
            // Another instance may have been told to drop it.
            let dropped = drop_key(self.question.view);
            let (kept, dropped) = join(reads.kept(tier, &self.tenant, &key), reads.kept(tier, &self.tenant, &dropped)).await;
            if let Some(at) = dropped.bytes.filter(|bytes| bytes.len() == size_of::<i64>()) {
                self.app.views.drops.note(&self.tenant, self.question.view, Moment::from_micros((&*at).get_i64()));
            }
            kept
        } else {
            reads.kept(tier, &self.tenant, &key).await
        };
        let Some(bytes) = kept.bytes else { return (None, kept.ticket) };
        let Some(entry) = Entry::read(bytes.clone()) else { return (None, kept.ticket) };
        let dropped = self.app.views.drops.last(&self.tenant, self.question.view);
        if dropped.is_some_and(|at| entry.made_at <= at) || !self.is_current(&entry, deadline).await {
            return (None, kept.ticket);
        }
        let left = entry.fresh_until.as_micros() - self.now().as_micros();
        let span = Duration::from_micros(left.unsigned_abs());
        let answer = |origin| ViewAnswer { body: entry.body.clone(), unavailable: entry.unavailable.clone(), origin };
        let found = if left > 0 {
            let answer = answer(ViewOrigin::Cache { tier: kept.tier, expires_in: span });
            Found::Fresh { answer, expires_in: span, entry: bytes }
        } else {
            Found::Stale(answer(ViewOrigin::Stale { tier: kept.tier, age: span }))
        };
        (Some(found), kept.ticket)
    }

    /// Whether the profile in the store, if it is part of the answer, is still what it was.
    async fn is_current(&self, entry: &Entry, deadline: Deadline) -> bool {
        if !self.uses_store() {
            return true;
        }
        if entry.stored == NOT_ASKED {
            // An incomplete answer, which the store is what lacks.
            return self.freshness == crate::Freshness::Recent;
        }
        let Ok(id) = self.question.id.parse::<ProfileId>() else { return entry.stored == 0 };
        if self.store_hangs.load(Ordering::Relaxed) {
            return false;
        }
        // Most of the time is the sources', who are asked where the store doesn't say so at once. Whoever shares the read has
        // time of their own for it, so what is left is told to it whole.
        let (view, _) = self.panel();
        let span = LONGEST_CHECK.min(view.deadline / 10).min(deadline.remaining());
        let key = EntityKey::profile(id);
        let Ok(read) = timeout(span, self.app.reads.profile(&self.tenant, &key, self.freshness, deadline)).await else {
            self.store_hangs.store(true, Ordering::Relaxed);
            return false;
        };
        read.is_ok_and(|found| found.body.map_or(0, |body| body.version.get()) == entry.stored)
    }

    /// What a farther tier kept, for the nearer ones.
    async fn bring_near(&self, entry: &Bytes, expires_in: Duration, nearer: &[Option<Ticket>]) {
        let made = Entry::read(entry.clone()).and_then(|entry| Version::new(entry.made_at.as_micros()));
        let (Some(key), Some(made)) = (self.key("view"), made) else { return };
        let expires_in = expires_in + self.app.reads.stale_if_error();
        for (tier, ticket) in nearer.iter().enumerate() {
            self.app.reads.keep(tier, &self.tenant, &key, *ticket, (made, entry.clone()), expires_in).await;
        }
    }

    /// Keeps what was made of what sources said, for as long as it is worth it.
    ///
    /// In this process before it is answered, so that whoever asks next finds it; elsewhere while it is.
    pub(super) async fn remember(&self, (outcome, worth): &(Outcome, Worth), tickets: &Tickets) {
        let Outcome::Answer(answer) = outcome else { return };
        let (true, false) = (self.is_kept(), tickets.complete.is_empty()) else { return };
        let (view, _) = self.panel();
        let made_at = self.later_than_all();
        let (prefix, ttl, stale) = if worth.is_complete {
            ("view", view.ttl.mul_f64(1.0 - JITTER * self.app.reads.chance()), self.app.reads.stale_if_error())
        } else {
            ("part", view.ttl.min(Duration::from_secs(RETRY_AFTER.into())), Duration::ZERO)
        };
        let entry = Entry {
            made_at,
            fresh_until: made_at.plus_micros(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)),
            stored: worth.stored.unwrap_or(NOT_ASKED),
            unavailable: answer.unavailable.clone(),
            body: answer.body.clone(),
        };
        let (Some(key), Some(version)) = (self.key(prefix), Version::new(made_at.as_micros())) else { return };
        let bytes = entry.bytes();
        let part = [tickets.part];
        let tickets = if worth.is_complete { tickets.complete.as_slice() } else { &part };
        let mut elsewhere = Vec::new();
        for (tier, ticket) in tickets.iter().copied().enumerate() {
            if self.app.reads.is_shared(tier) {
                elsewhere.push((tier, ticket));
            } else {
                self.app.reads.keep(tier, &self.tenant, &key, ticket, (version, bytes.clone()), ttl + stale).await;
            }
        }
        if elsewhere.is_empty() {
            return;
        }
        let (app, tenant) = (self.app.clone(), self.tenant.clone());
        let keeping = async move {
            for (tier, ticket) in elsewhere {
                app.reads.keep(tier, &tenant, &key, ticket, (version, bytes.clone()), ttl + stale).await;
            }
        };
        match &self.app.views.runtime {
            Some(runtime) => drop(runtime.spawn(keeping)),
            None => keeping.await,
        }
    }

    /// Of answers made at once, one is the later.
    fn later_than_all(&self) -> Moment {
        let now = u64::try_from(self.now().as_micros()).unwrap_or_default();
        let last = self.app.views.last.fetch_max(now, Ordering::Relaxed);
        let next = if last >= now { self.app.views.last.fetch_add(1, Ordering::Relaxed) + 1 } else { now };
        Moment::from_micros(i64::try_from(next).unwrap_or(i64::MAX))
    }
}

impl App {
    /// Everything that is kept of a view for a tenant: what was made until now isn't believed any more.
    pub(super) async fn drop_all(&self, tenant: &TenantId, view: ViewName) -> Result<(), CacheError> {
        let now = (self.environment.now)();
        self.views.drops.note(tenant, view, now);
        let key = drop_key(view);
        for tier in (0..self.reads.depth()).filter(|tier| self.reads.is_shared(*tier)) {
            let ticket = self.reads.kept(tier, tenant, &key).await.ticket;
            let entry =
                (Version::new(now.as_micros()).unwrap_or(Version::FIRST), Bytes::copy_from_slice(&now.as_micros().to_be_bytes()));
            if !self.reads.keep(tier, tenant, &key, ticket, entry, LONGEST).await {
                return Err(CacheError::Unavailable("the shared cache takes nothing at the moment".into()));
            }
        }
        Ok(())
    }

    /// All that is kept of one id, whichever sections were asked for.
    pub(super) async fn drop_one(&self, tenant: &TenantId, view: ViewName, id: &str) -> Result<(), CacheError> {
        let loaded = self.views.loaded();
        let all = std::iter::once(view.sections()).chain(view.sections().iter().map(std::slice::from_ref));
        for sections in all {
            for prefix in ["view", "part"] {
                if let Some(key) = key(prefix, &loaded.fingerprint, view, sections, id) {
                    self.reads.drop_kept(tenant, &key).await?;
                }
            }
        }
        Ok(())
    }
}

/// `None` where the id is no part of a name; then nothing is kept of it.
fn key(prefix: &str, fingerprint: &str, view: ViewName, sections: &[Section], id: &str) -> Option<EntityKey> {
    let data_type = match sections {
        [one] => one.as_str(),
        _ => "all",
    };
    Some(EntityKey {
        entity_type: EntityType::parse(&format!("{prefix}-{view}")).ok()?,
        reference: Reference::parse(&format!("{fingerprint}/{data_type}/{id}")).ok()?,
    })
}

fn drop_key(view: ViewName) -> EntityKey {
    let name = |text: &str| (EntityType::parse(&format!("drop-{text}")), Reference::parse("all"));
    match name(view.as_str()) {
        (Ok(entity_type), Ok(reference)) => EntityKey { entity_type, reference },
        _ => unreachable!("both are names"),
    }
}
