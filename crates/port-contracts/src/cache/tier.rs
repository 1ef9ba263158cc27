//! How the cases speak to a cache.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use profile_domain::{EntityKey, Incarnation, ProfileId, TenantId, Version};
use profile_ports::{
    Cache,
    cache::{Begin, Change, Fill, Got, Mark, Put, Spans, Standing, State, Step, Ticket},
};
use uuid::Uuid;

use super::{CacheFixture, CacheLimits};

pub(super) const SPANS: Spans = Spans { load: Duration::from_millis(500), lag: Duration::from_millis(200) };
pub(super) const LONG: Duration = Duration::from_mins(1);
pub(super) const INCARNATION: Incarnation = Incarnation(7);

/// Room for whatever a case puts.
pub(super) const AMPLE: CacheLimits =
    CacheLimits { entries: 2_000, bytes: 32 << 20, absences: 2_000, floors: 20_000, spans: SPANS };

pub(super) struct Tier<F> {
    pub(super) fixture: F,
    pub(super) cache: Arc<dyn Cache>,
    pub(super) tenant: TenantId,
}

pub(super) fn key(number: u32) -> EntityKey {
    EntityKey::profile(ProfileId(Uuid::from_u128(number.into())))
}

pub(super) fn version(number: u32) -> Version {
    Version::new(number.into()).expect("a version is 1 or more")
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a tenant")
}

/// A living state whose bytes tell key and version.
pub(super) fn living(key: &EntityKey, number: u32) -> State {
    State::Living { version: version(number), bytes: Bytes::from(format!("{} at {number}", key.reference)) }
}

pub(super) fn absent(number: Option<u32>) -> State {
    State::Absent { version: number.map(version) }
}

/// A cache whose parts have begun at position 0.
pub(super) async fn begun<F: CacheFixture>(limits: CacheLimits) -> Tier<F> {
    let tier = Tier::<F>::new(F::fresh(limits).await);
    for part in 0..tier.cache.parts() {
        tier.begin(part, 0, Duration::ZERO).await;
    }
    tier
}

impl<F: CacheFixture> Tier<F> {
    pub(super) fn new(fixture: F) -> Self {
        let cache = fixture.cache();
        Self { fixture, cache, tenant: tenant("a") }
    }

    pub(super) async fn got(&self, key: &EntityKey) -> Got {
        self.cache.get(&self.tenant, key).await.expect("a get")
    }

    pub(super) async fn state(&self, key: &EntityKey) -> Option<State> {
        self.got(key).await.hit.map(|hit| hit.state)
    }

    pub(super) async fn part_mark(&self, part: u16) -> Option<Mark> {
        self.cache.mark(part).await.expect("a mark")
    }

    pub(super) async fn mark(&self, key: &EntityKey) -> Option<Mark> {
        self.part_mark(self.cache.part_of(&self.tenant, key)).await
    }

    pub(super) async fn ticket(&self, key: &EntityKey) -> Ticket {
        self.mark(key).await.and_then(|mark| mark.ticket).expect("the part takes something")
    }

    pub(super) async fn put(&self, key: &EntityKey, ticket: Ticket, fill: Fill) -> Put {
        self.cache.put(&self.tenant, key, ticket, fill).await.expect("a put")
    }

    /// Puts what settled long ago, with a ticket of now.
    pub(super) async fn settled(&self, key: &EntityKey, state: State) -> Put {
        self.put(key, self.ticket(key).await, settled(state)).await
    }

    pub(super) async fn invalidate(&self, key: &EntityKey, number: u32) {
        self.cache.invalidate(&[self.change(key, number)]).await.expect("an invalidation");
    }

    pub(super) fn change(&self, key: &EntityKey, number: u32) -> Change {
        Change { tenant: self.tenant.clone(), key: key.clone(), version: version(number) }
    }

    pub(super) async fn follow(&self, part: u16, from: i64, to: i64, changes: &[Change]) -> Option<Mark> {
        self.cache.follow(part, &Step { incarnation: INCARNATION, from, to, changes }).await.expect("a step")
    }

    /// Begins anew whatever there is.
    pub(super) async fn begin(&self, part: u16, position: i64, quiet: Duration) -> Option<Mark> {
        let instead_of = self.part_mark(part).await.map(|mark| mark.namespace);
        let begin = Begin { instead_of, incarnation: INCARNATION, position, quiet };
        self.cache.begin(part, &begin).await.expect("a beginning")
    }
}

pub(super) fn settled(state: State) -> Fill {
    Fill { state, expires_in: LONG, standing: Standing::Settled }
}

pub(super) fn fresh(state: State) -> Fill {
    Fill { standing: Standing::Fresh, ..settled(state) }
}
