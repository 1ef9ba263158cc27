//! Views: one answer from many sources, within a deadline, whatever becomes of any of them.
//!
//! **The order.** What the nearest tier of caches keeps of a complete answer, then a `flight` that all share who ask the same,
//! in which come the tiers behind, then all sources at once (`gather`), each with the smaller of its own time and what is left.
//! What they say is merged in `domain`, in no order, and takes its form in `answer`.
//!
//! **A source that fails counts as empty**, and makes the answer incomplete: it is kept for [`RETRY_AFTER`] only, apart from
//! complete ones. Where no source answers, a complete answer that is past its time is served, marked.
//!
//! **What was read from the store** is no older than a plain read: a kept answer names the version of the profile that it was
//! made of, and is believed only while a read of that profile, with the freshness that is asked for, gives that version
//! (`kept`). So views obey the feed and tokens by way of what does already.
//!
//! **Who goes away** leaves a flight; the last one ends it, and its calls with it.

mod answer;
mod flights;
mod gather;
mod kept;
mod measures;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use profile_domain::{
    Moment, Rules, SourceName, TenantId,
    views::{Catalog, Panel, Period, Section, View, ViewName},
};
use profile_ports::{Ask, CacheError, Deadline, Fetched, SourceError, Sources, StoreError};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::{runtime::Handle, time::timeout};

use crate::{App, Freshness};

use self::{
    answer::Outcome,
    flights::{Asked, Flights},
    kept::{Drops, Found},
    measures::Measures,
};

const FINGERPRINT_BYTES: usize = 12;

/// Seconds after which asking again may help, and for how long an incomplete answer is kept at most.
pub const RETRY_AFTER: u32 = 1;

/// What is asked of a view.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which one.
    pub view: ViewName,
    /// Which parts of it, in the order in which it has them.
    pub sections: Vec<Section>,
    /// About whom: 1–128 bytes without control characters.
    pub id: String,
    /// About which time. Such answers are not kept.
    pub period: Option<Period>,
    /// The W3C trace that it belongs to.
    pub traceparent: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct ViewAnswer {
    /// JSON.
    pub body: Bytes,
    /// The sources that it lacks.
    pub unavailable: Vec<SourceName>,
    /// Where it came from.
    pub origin: ViewOrigin,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewOrigin {
    /// A tier of caches.
    Cache {
        /// Its name.
        tier: &'static str,
        /// What is left of its time.
        expires_in: Duration,
    },
    /// A tier, past its time: no source answered.
    Stale {
        /// Its name.
        tier: &'static str,
        /// For how long it is past its time.
        age: Duration,
    },
    /// The sources.
    Sources,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ViewError {
    /// This tenant has no such view.
    #[error("no sources are configured for this view")]
    NotConfigured,
    /// Every source answered, and none knows the id.
    #[error("no source knows this id")]
    Unknown,
    /// No source that could know it answered.
    #[error("no source answered")]
    Unavailable {
        /// The sections of which all is known that there is to know.
        available: Vec<Section>,
        /// The sources that didn't answer.
        unavailable: Vec<SourceName>,
    },
    /// What was asked for as fresh couldn't be looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What configuration says, and what is called for it.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    sources: Arc<dyn Sources>,
    /// Names everything that answers depend on.
    fingerprint: String,
    /// Sources whose answers couldn't be used the last time.
    unusable: Mutex<BTreeSet<SourceName>>,
}

/// Views, and what is going on with them.
pub(crate) struct Views {
    loaded: RwLock<Arc<Loaded>>,
    flights: Flights,
    drops: Drops,
    runtime: Option<Handle>,
    measures: Arc<Measures>,
    /// So that of two answers of one microsecond one is the later.
    pub(crate) last: AtomicU64,
}

impl Views {
    /// Of what is stored alone.
    pub(crate) fn stored_only(rules: Rules) -> Self {
        let loaded = Loaded::new(Catalog::stored_only(rules), Arc::new(NoSources), "");
        Self {
            loaded: RwLock::new(Arc::new(loaded)),
            flights: Flights::default(),
            drops: Drops::default(),
            runtime: None,
            measures: Arc::new(Measures::new()),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read())
    }
}

impl Loaded {
    fn new(catalog: Catalog, sources: Arc<dyn Sources>, identity: &str) -> Self {
        let fingerprint = URL_SAFE_NO_PAD.encode(&Sha256::digest(identity.as_bytes())[..FINGERPRINT_BYTES]);
        Self { catalog, sources, fingerprint, unusable: Mutex::default() }
    }
}

impl App {
    /// With views of live sources. Their calls are made on the runtime. `identity` is any text that is another one where answers
    /// may be.
    ///
    /// # Errors
    /// The registry has such metrics already.
    pub fn with_views(
        mut self,
        catalog: Catalog,
        sources: Arc<dyn Sources>,
        identity: &str,
        runtime: Handle,
        registry: &prometheus::Registry,
    ) -> prometheus::Result<Self> {
        let mut views = Views::stored_only(Rules::default());
        views.loaded = RwLock::new(Arc::new(Loaded::new(catalog, sources, identity)));
        views.runtime = Some(runtime);
        views.measures.register(registry)?;
        self.views = Arc::new(views);
        Ok(self)
    }

    /// Other views and sources from now on; what is being answered goes on with those of before.
    pub fn replace_views(&self, catalog: Catalog, sources: Arc<dyn Sources>, identity: &str) {
        *self.views.loaded.write() = Arc::new(Loaded::new(catalog, sources, identity));
    }

    /// One answer, from what is kept or from the sources.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub async fn read_view(
        &self,
        tenant: &TenantId,
        question: Question,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<ViewAnswer, ViewError> {
        let name = question.view;
        let answered = self.answer(tenant, question, freshness, deadline).await;
        self.views.measures.answered(name, &answered);
        answered
    }

    async fn answer(
        &self,
        tenant: &TenantId,
        question: Question,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<ViewAnswer, ViewError> {
        let loaded = self.views.loaded();
        let (view, _) = loaded.catalog.panel(tenant, question.view).ok_or(ViewError::NotConfigured)?;
        let deadline = deadline.at_most(view.deadline);
        let job = self.job(tenant, question, freshness, &loaded);
        if let Some(found) = job.nearest(deadline).await {
            if let Found::Fresh { expires_in, answer, .. } = &found
                // What is missing is kept for a moment, so that those who lack it aren't asked more than then.
                && answer.unavailable.is_empty()
            {
                self.refresh_early(&job, view, *expires_in);
            }
            if let Some(answer) = found.fresh() {
                return Ok(answer);
            }
        }
        let flight = if freshness == Freshness::Recent {
            let asked = job.asked();
            self.views.flights.join(asked, || self.begin(job, deadline))
        } else {
            self.views.flights.alone(self.begin(job, deadline))
        };
        // Whoever leads has the same deadline or an earlier one; the margin is for its answer to arrive.
        let outcome = timeout(deadline.remaining() + MARGIN, flight).await;
        match outcome.as_deref() {
            Ok(Outcome::Answer(answer)) => Ok(answer.clone()),
            Ok(Outcome::Unknown) => Err(ViewError::Unknown),
            Ok(Outcome::Unavailable { available, unavailable }) => {
                Err(ViewError::Unavailable { available: available.clone(), unavailable: unavailable.clone() })
            }
            Err(_) => Err(ViewError::Unavailable { available: Vec::new(), unavailable: Vec::new() }),
        }
    }

    /// The answer with a member `explain`, from the sources: per field the winner, the others and the rule, and what became of
    /// each source.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub async fn explain_view(&self, tenant: &TenantId, question: Question, deadline: Deadline) -> Result<ViewAnswer, ViewError> {
        let loaded = self.views.loaded();
        let (view, _) = loaded.catalog.panel(tenant, question.view).ok_or(ViewError::NotConfigured)?;
        let deadline = deadline.at_most(view.deadline);
        let job = self.job(tenant, question, Freshness::Current, &loaded);
        let explained = self.begin_with(async move {
            let gathered = job.gather(deadline).await;
            answer::explained(&job, &gathered)
        });
        explained.await.unwrap_or(Err(ViewError::Unavailable { available: Vec::new(), unavailable: Vec::new() }))
    }

    /// Drops what is kept of a view for one tenant, or of one id in it: what is shared, and what is in this process.
    ///
    /// # Errors
    /// A cache failed; then some may have been dropped.
    pub async fn forget_view(&self, tenant: &TenantId, view: ViewName, id: Option<&str>) -> Result<(), CacheError> {
        match id {
            Some(id) => self.drop_one(tenant, view, id).await,
            None => self.drop_all(tenant, view).await,
        }
    }

    fn job(&self, tenant: &TenantId, question: Question, freshness: Freshness, loaded: &Arc<Loaded>) -> Job {
        Job {
            app: self.clone(),
            tenant: tenant.clone(),
            question,
            freshness,
            loaded: Arc::clone(loaded),
            store_hangs: Arc::default(),
        }
    }

    /// Answers from what lies behind the nearest tier, on the runtime; dropping what it gives ends that.
    fn begin(&self, job: Job, deadline: Deadline) -> flights::Work {
        let work = self.begin_with(async move { job.run(deadline).await });
        let ended = || Outcome::Unavailable { available: Vec::new(), unavailable: Vec::new() };
        Box::pin(async move { Arc::new(work.await.unwrap_or_else(ended)) })
    }

    fn begin_with<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> futures_util::future::BoxFuture<'static, Option<T>> {
        match &self.views.runtime {
            Some(runtime) => Box::pin(flights::Spawned::on(runtime, work)),
            None => Box::pin(async move { Some(work.await) }),
        }
    }

    /// The nearer its end, the likelier an answer is made anew before it, so that one that is read a lot never expires.
    fn refresh_early(&self, job: &Job, view: &View, expires_in: Duration) {
        let span = view.ttl.mul_f64(EARLY);
        let Some(runtime) = &self.views.runtime else { return };
        if expires_in > span || self.reads.chance() < expires_in.div_duration_f64(span) {
            return;
        }
        let deadline = Deadline::within(view.deadline);
        let job = Job { freshness: Freshness::Recent, store_hangs: Arc::default(), ..job.clone() };
        let refreshing = Job { app: self.clone(), ..job.clone() };
        if let Some(flight) = self.views.flights.lead(job.asked(), || {
            let work = self.begin_with(async move { refreshing.refresh(deadline).await });
            let ended = || Outcome::Unavailable { available: Vec::new(), unavailable: Vec::new() };
            Box::pin(async move { Arc::new(work.await.unwrap_or_else(ended)) })
        }) {
            runtime.spawn(flight);
        }
    }
}

/// The last part of an answer's time, in which it may be made anew before it ends.
const EARLY: f64 = 0.1;
/// How much later than its deadline an answer that was made in time may arrive.
const MARGIN: Duration = Duration::from_millis(15);

/// One question, and what is needed to answer it.
#[derive(Clone)]
pub(crate) struct Job {
    app: App,
    tenant: TenantId,
    question: Question,
    freshness: Freshness,
    loaded: Arc<Loaded>,
    /// Whether it took all the time that a look at it may: then it isn't looked at again.
    store_hangs: Arc<AtomicBool>,
}

impl Job {
    fn asked(&self) -> Asked {
        Asked {
            tenant: self.tenant.clone(),
            view: self.question.view,
            sections: self.question.sections.clone(),
            id: self.question.id.clone(),
            period: self.question.period,
            fingerprint: self.loaded.fingerprint.clone(),
        }
    }

    /// Checked when the job was made.
    fn panel(&self) -> (&View, &Panel) {
        let panel = self.loaded.catalog.panel(&self.tenant, self.question.view);
        panel.expect("a job is made for views that the tenant has")
    }

    fn uses_store(&self) -> bool {
        let (_, panel) = self.panel();
        self.loaded.catalog.uses_store(Catalog::asked(panel, &self.question.sections))
    }

    fn now(&self) -> Moment {
        (self.app.environment.now)()
    }

    /// From the tiers behind the nearest, or the sources.
    async fn run(&self, deadline: Deadline) -> Outcome {
        let looked = self.look(deadline).await;
        if let Some(answer) = looked.fresh {
            return Outcome::Answer(answer);
        }
        let outcome = answer::outcome(self, &self.gather(deadline).await);
        if let (true, Some(stale)) = (outcome.1.is_of_nobody, looked.stale) {
            return Outcome::Answer(stale);
        }
        self.remember(&outcome, &looked.tickets).await;
        outcome.0
    }

    /// From the sources, whatever is kept.
    async fn refresh(&self, deadline: Deadline) -> Outcome {
        let tickets = self.tickets().await;
        let outcome = answer::outcome(self, &self.gather(deadline).await);
        // What is kept is better than what lacks something, for as long as it lasts.
        if outcome.1.is_complete {
            self.remember(&outcome, &tickets).await;
        }
        outcome.0
    }
}

/// Where nothing can be called.
struct NoSources;

#[async_trait]
impl Sources for NoSources {
    async fn fetch(&self, _: &SourceName, _: &Ask<'_>, _: Deadline) -> Fetched {
        let answer = Err(SourceError::Unreachable("nothing is called from here".into()));
        Fetched { answer, attempts: 0, breaker: "closed" }
    }
}
