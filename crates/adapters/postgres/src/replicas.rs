//! Replicas: reads that may lag go to a server that follows, if it follows closely enough.
//!
//! **Each answer is judged by itself.** In front of the read, in the same round trip and the same transaction (a pooler must not
//! send them to different servers), goes a statement that asks how far the replica has replayed. Later snapshots show at least
//! that. If it is less than the read needs, the answer is thrown away, and the primary is asked. So nothing depends on what was
//! measured before; that only decides where to ask.
//!
//! **What a read needs** is what the primary had flushed a second ago (`tide.rs`), or the place that it names, if that is later;
//! and the primary's timeline. A replica that kept what a new primary never had has come far on a timeline that it doesn't tell, so
//! each primary notes its own in a table, which reaches only those that follow it.
//!
//! **A replica that says nothing** costs a read a third of its time, and then nobody asks it for [`REST`].

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join4;
use profile_domain::Place;
use profile_ports::{AsOf, Deadline, Servers, StoreError, causes};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Row, types::PgLsn};

use crate::{
    error::{too_late, unavailable},
    metrics::ReplicaMetrics,
    pool::{Lease, Params, Pool},
    row::{corrupt, get},
    statement::Statement,
    succession::Succession,
    tide::Tide,
};

/// How long a replica isn't asked that didn't answer.
const REST: Duration = Duration::from_secs(2);
/// How long a read waits for a replica to come to a place, and the pause between two looks.
const WAIT: Duration = Duration::from_millis(50);
const WAIT_STEP: Duration = Duration::from_millis(5);
/// One that lay so far behind when it was last looked at isn't waited for.
const HOPELESS: Duration = Duration::from_millis(400);

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
pub(crate) static REPLAYED: Statement = Statement::new("replica_replayed", include_str!("sql/replayed.sql"), &[]);

/// All that configuration names.
pub(crate) struct Replicas {
    pub(crate) all: Box<[Replica]>,
    pub(crate) tide: Tide,
    succession: Arc<Succession>,
    next: AtomicUsize,
    pub(crate) metrics: ReplicaMetrics,
}

pub(crate) struct Replica {
    pub(crate) name: String,
    pool: Pool,
    /// Whether the last look at it was good enough.
    fit: AtomicBool,
    /// Whether an answer since wasn't.
    missed: AtomicBool,
    /// The furthest that it was seen to have come, on the timeline of now.
    replayed: AtomicU64,
    /// Milliseconds behind at the last look; the most where that isn't known.
    lag: AtomicU64,
    rests_until: Mutex<Option<Instant>>,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replayed {
    pub(crate) recovering: bool,
    pub(crate) place: Place,
}

impl Replayed {
    pub(crate) fn of(rows: &[Row]) -> Result<Self, StoreError> {
        let row = rows.first().ok_or_else(|| corrupt("a replica says nothing of itself"))?;
        let position: Option<PgLsn> = get(row, "position")?;
        let timeline: i64 = get(row, "timeline")?;
        let place = Place { timeline: timeline.try_into().map_err(corrupt)?, position: position.map_or(0, u64::from) };
        Ok(Self { recovering: get(row, "recovering")?, place })
    }

    /// Whether a read that needs a place may be shown what this one has.
    fn reaches(&self, needed: Place) -> bool {
        self.recovering && self.place.timeline == needed.timeline && self.place.position >= needed.position
    }
}

impl Replicas {
    pub(crate) fn new(all: Vec<(String, Pool)>, succession: Arc<Succession>, metrics: ReplicaMetrics) -> Self {
        let replica = |(name, pool)| Replica {
            name,
            pool,
            fit: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            replayed: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            rests_until: Mutex::new(None),
        };
        let all = all.into_iter().map(replica).collect();
        Self { all, tide: Tide::default(), succession, next: AtomicUsize::new(0), metrics }
    }

    pub(crate) fn close(&self) {
        self.all.iter().for_each(|replica| replica.pool.close());
    }

    /// Reads from a replica. `None` where the primary should be asked.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        params: Params<'_>,
        as_of: AsOf,
        deadline: Deadline,
    ) -> Option<Vec<Row>> {
        let needed = self.needed(as_of)?;
        let replica = self.pick()?;
        let within = deadline.remaining() / 3;
        let answer = timeout(within, replica.ask(statement, params, needed)).await;
        let (outcome, rows) = match answer.unwrap_or_else(|_| Err(StoreError::Unavailable(too_late()))) {
            Ok(Some(rows)) => ("used", Some(rows)),
            Ok(None) => {
                // Behind a place only, it is as good as it was for others.
                replica.missed.fetch_or(as_of == AsOf::Recently, Ordering::Relaxed);
                ("behind", None)
            }
            Err(error) => {
                tracing::debug!(server = replica.name, cause = causes(&error), "a replica doesn't answer");
                replica.rest();
                ("failed", None)
            }
        };
        self.metrics.reads.with_label_values(&[replica.name.as_str(), outcome]).inc();
        rows
    }

    /// What a replica must have come to. `None` where none can do, or nobody can say.
    fn needed(&self, as_of: AsOf) -> Option<Place> {
        if self.all.is_empty() {
            return None;
        }
        let floor = match as_of {
            AsOf::Now => return None,
            AsOf::Recently | AsOf::Place(_) => self.tide.floor(Instant::now())?,
        };
        let reign = self.succession.current()?;
        let needed = match as_of {
            // Of what was written on another timeline it isn't known whether it is there.
            AsOf::Place(place) if place.timeline != floor.timeline => return None,
            AsOf::Place(place) => Place { position: place.position.max(floor.position), ..floor },
            _ => floor,
        };
        (needed.timeline == reign.timeline).then_some(needed)
    }

    /// The next one that is fit.
    fn pick(&self) -> Option<&Replica> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        (0..count).map(|step| &self.all[(first + step) % count]).find(|replica| replica.is_used())
    }

    /// What a look at a replica told; `None`: it said nothing. Gives how it stands, if that is another way than before, and how far
    /// behind, if that is known.
    pub(crate) fn looked(&self, index: usize, look: Option<Replayed>) -> Option<(bool, Option<Duration>)> {
        let (replica, now) = (&self.all[index], Instant::now());
        let fit = look.zip(self.needed(AsOf::Recently)).is_some_and(|(look, needed)| look.reaches(needed));
        // Of one that follows nobody, what it replayed says nothing.
        let lag = look.filter(|look| look.recovering).and_then(|look| self.tide.lag(look.place, now));
        if let Some(look) = look {
            let millis = lag.and_then(|lag| u64::try_from(lag.as_millis()).ok()).unwrap_or(u64::MAX);
            replica.lag.store(millis, Ordering::Relaxed);
            replica.replayed.store(look.place.position, Ordering::Relaxed);
        }
        self.metrics.lag.with_label_values(&[replica.name.as_str()]).set(lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
        replica.missed.store(false, Ordering::Relaxed);
        let before = replica.fit.swap(fit, Ordering::Relaxed);
        (before != fit).then_some((fit, lag))
    }

    /// How many are used, and how many are not.
    pub(crate) fn tally(&self, primary: bool) -> Servers {
        let used = self.all.iter().filter(|replica| replica.is_used()).count();
        Servers { primary, replicas: used, resting: self.all.len() - used }
    }
}

impl Replica {
    fn is_used(&self) -> bool {
        let rests = self.rests_until.lock().is_ok_and(|until| until.is_some_and(|until| Instant::now() < until));
        self.fit.load(Ordering::Relaxed) && !self.missed.load(Ordering::Relaxed) && !rests
    }

    fn rest(&self) {
        if let Ok(mut until) = self.rests_until.lock() {
            *until = Some(Instant::now() + REST);
        }
    }

    /// Bounded by the caller. `None` where it hasn't come far enough.
    async fn ask(&self, statement: &Statement, params: Params<'_>, needed: Place) -> Result<Option<Vec<Row>>, StoreError> {
        let lease = self.sound_lease(statement).await?;
        let answer = if self.replayed.load(Ordering::Relaxed) >= needed.position || self.comes_to(&lease, needed).await? {
            self.judged(&lease, statement, params, needed).await
        } else {
            Ok(None)
        };
        // After an error the transaction may be open still, or its end under way.
        if answer.is_ok() {
            lease.keep();
        }
        answer
    }

    /// A connection on which the statements are prepared: one that was closed while it was idle shows here.
    async fn sound_lease(&self, statement: &Statement) -> Result<Lease<'_>, StoreError> {
        loop {
            let lease = self.pool.lease().await?;
            match lease.prepare(&[&REPLAYED, statement]).await {
                Err(error) if error.is_closed() => {}
                Err(error) => return Err(unavailable(error)),
                Ok(()) => return Ok(lease),
            }
        }
    }

    /// Waits a little for it to come to a place.
    async fn comes_to(&self, lease: &Lease<'_>, needed: Place) -> Result<bool, StoreError> {
        if Duration::from_millis(self.lag.load(Ordering::Relaxed)) >= HOPELESS {
            return Ok(false);
        }
        let until = Instant::now() + WAIT;
        loop {
            let replayed = Replayed::of(&lease.query(&REPLAYED, &[]).await.map_err(unavailable)?)?;
            if replayed.reaches(needed) {
                return Ok(true);
            }
            if !replayed.recovering || Instant::now() + WAIT_STEP > until {
                return Ok(false);
            }
            sleep(WAIT_STEP).await;
        }
    }

    /// The read, behind the question how far it has come.
    async fn judged(
        &self,
        lease: &Lease<'_>,
        statement: &Statement,
        params: Params<'_>,
        needed: Place,
    ) -> Result<Option<Vec<Row>>, StoreError> {
        let begin = lease.batch("replica_begin", BEGIN);
        let (replayed, rows) = (lease.query(&REPLAYED, &[]), lease.query(statement, params));
        let commit = lease.batch("replica_commit", "COMMIT");
        // Polled, and so sent, in this order.
        let ((), replayed, rows, ()) = try_join4(begin, replayed, rows, commit).await.map_err(unavailable)?;
        let replayed = Replayed::of(&replayed)?;
        self.replayed.fetch_max(replayed.place.position, Ordering::Relaxed);
        Ok(replayed.reaches(needed).then_some(rows))
    }
}
