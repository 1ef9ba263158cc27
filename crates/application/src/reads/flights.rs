//! Flights: who wants what somebody else is fetching already, waits for that.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use profile_domain::{EntityKey, TenantId};
use profile_ports::{
    StoreError,
    cache::{Change, State},
    causes,
};
use tokio::sync::watch;

use super::{Freshness, Origin, SHARED};

type Key = (TenantId, EntityKey);
type Fetched = Result<(State, Origin), StoreError>;

#[derive(Default)]
pub(super) struct Flights {
    flying: Arc<Mutex<HashMap<Key, Flying>>>,
    next: AtomicU64,
}

struct Flying {
    number: u64,
    began: Instant,
    landed: watch::Receiver<Option<Landed>>,
}

/// What came of it. Errors are no values: each who waited gets one of its own.
#[derive(Clone)]
enum Landed {
    Fetched(State, Origin),
    Unavailable(Arc<str>),
    Corrupt(Arc<str>),
}

/// One's part in a flight.
pub(super) enum Seat {
    Lead(Lead),
    Follow(Follow),
}

/// Whoever fetches. Dropped before it landed, the next one leads.
pub(super) struct Lead {
    flights: Arc<Mutex<HashMap<Key, Flying>>>,
    key: Key,
    number: u64,
    landing: watch::Sender<Option<Landed>>,
}

/// Whoever waits.
pub(super) struct Follow(watch::Receiver<Option<Landed>>);

impl Flights {
    /// Takes part in fetching. What insists on more than recent values follows nobody, since a flight may have begun before
    /// what is insisted on.
    pub(super) fn join(&self, tenant: &TenantId, key: &EntityKey, freshness: Freshness, now: Instant) -> Seat {
        let key = (tenant.clone(), key.clone());
        let mut flying = self.flying.lock();
        if let Some(flight) = flying.get(&key)
            && freshness == Freshness::Recent
            && now.saturating_duration_since(flight.began) < SHARED
        {
            return Seat::Follow(Follow(flight.landed.clone()));
        }
        Seat::Lead(self.lead(&mut flying, key, now))
    }

    /// Nobody joins a flight any more that began before a commit that changed what it fetches.
    pub(super) fn part_from(&self, changes: &[Change]) {
        let mut flying = self.flying.lock();
        if !flying.is_empty() {
            flying.retain(|(tenant, key), _| !changes.iter().any(|change| change.tenant == *tenant && change.key == *key));
        }
    }

    /// Leads, unless somebody does.
    pub(super) fn lead_alone(&self, tenant: &TenantId, key: &EntityKey, now: Instant) -> Option<Lead> {
        let key = (tenant.clone(), key.clone());
        let mut flying = self.flying.lock();
        (!flying.contains_key(&key)).then(|| self.lead(&mut flying, key, now))
    }

    fn lead(&self, flying: &mut HashMap<Key, Flying>, key: Key, now: Instant) -> Lead {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (landing, landed) = watch::channel(None);
        flying.insert(key.clone(), Flying { number, began: now, landed });
        Lead { flights: Arc::clone(&self.flying), key, number, landing }
    }
}

impl Lead {
    /// Tells those who wait.
    pub(super) fn land(self, fetched: &Fetched) {
        let landed = match fetched {
            Ok((state, origin)) => Landed::Fetched(state.clone(), *origin),
            Err(StoreError::Corrupt(cause)) => Landed::Corrupt(cause.to_string().into()),
            Err(error) => Landed::Unavailable(causes(error).into()),
        };
        // Off the board first: nobody joins a flight that has landed.
        self.leave();
        self.landing.send_replace(Some(landed));
    }

    fn leave(&self) {
        let mut flying = self.flights.lock();
        if flying.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            flying.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Follow {
    /// What came of it; `None` where whoever led gave up.
    pub(super) async fn landed(&mut self) -> Option<Fetched> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?.clone()?;
        Some(match landed {
            Landed::Fetched(state, origin) => Ok((state, origin)),
            Landed::Unavailable(cause) => Err(StoreError::Unavailable(cause.to_string().into())),
            Landed::Corrupt(cause) => Err(StoreError::Corrupt(cause.to_string().into())),
        })
    }
}
