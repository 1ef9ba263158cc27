//! Sources by name, and what a call of one passes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use profile_domain::SourceName;
use profile_ports::{Ask, Deadline, Fetched, SourceError, Sources, causes};
use prometheus::Registry;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    breaker::Breaker,
    budget::Budget,
    call::call,
    guard::{Guarded, Reach},
    metrics::Metrics,
    template::UrlTemplate,
};

/// The pause before the first retry, about; the next ones are longer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Calls that must succeed in a row until a source that failed is said to be well.
const WELL: u32 = 10;

/// How a source is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// May be repeated.
    Get,
    /// Never repeated.
    Post,
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
        }
    }
}

/// Everything about one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Where it is.
    pub url: UrlTemplate,
    /// How it is asked.
    pub method: Method,
    /// What it is sent; those that are secrets are marked so.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON, in which the text `"{id}"` stands for the id.
    pub body: Option<String>,
    /// How long it may take, retries included; 200 ms.
    pub timeout: Duration,
    /// How often a call is repeated, at most; 1.
    pub retries: u32,
    /// Calls at once, at most; 64.
    pub concurrency: usize,
    /// The largest answer in bytes, decompressed; 1 MiB.
    pub max_bytes: usize,
    /// Which addresses it may have.
    pub reach: Reach,
}

/// Connections of all sources, one client for each [`Reach`], and what is measured; cheap to clone.
#[derive(Clone)]
pub struct Clients {
    public: Guarded,
    private: Guarded,
    metrics: Metrics,
}

impl Clients {
    /// To be made once.
    ///
    /// # Errors
    /// TLS can't be set up, or the registry has such metrics already.
    pub fn new(registry: &Registry) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self {
            public: Guarded::new(Reach::Public)?,
            private: Guarded::new(Reach::Private)?,
            metrics: Metrics::register(registry)?,
        })
    }
}

/// The sources that configuration names.
pub struct HttpSources {
    clients: Clients,
    sources: BTreeMap<SourceName, Arc<Source>>,
}

struct Source {
    settings: SourceSettings,
    breaker: Breaker,
    budget: Budget,
    calls: Semaphore,
    failing: AtomicBool,
    /// Calls that succeeded since one failed.
    well: AtomicU32,
}

impl HttpSources {
    /// Sources whose settings are as before keep what is known of them.
    #[must_use]
    pub fn new(clients: Clients, settings: BTreeMap<SourceName, SourceSettings>, before: Option<&Self>) -> Self {
        let known = |name: &SourceName| before.and_then(|before| before.sources.get(name));
        let sources = settings.into_iter().map(|(name, settings)| {
            let source = match known(&name) {
                Some(source) if source.settings == settings => Arc::clone(source),
                _ => Arc::new(Source::new(settings)),
            };
            (name, source)
        });
        Self { clients, sources: sources.collect() }
    }
}

#[async_trait]
impl Sources for HttpSources {
    async fn fetch(&self, name: &SourceName, ask: &Ask<'_>, deadline: Deadline) -> Fetched {
        let Some(source) = self.sources.get(name) else {
            let answer = Err(SourceError::Unreachable("no source has this name".into()));
            return Fetched { answer, attempts: 0, breaker: "closed" };
        };
        let began = Instant::now();
        let Ok(pass) = source.breaker.enter(began) else {
            self.clients.metrics.ended(name.as_str(), SourceError::Open.name(), 0, Duration::ZERO);
            let breaker = source.breaker.name();
            return Fetched { answer: Err(SourceError::Open), attempts: 0, breaker };
        };
        let deadline = deadline.at_most(source.settings.timeout);
        let is_probe = pass.is_probe;
        let mut attempts = 0;
        let answer = match timeout(deadline.remaining(), source.calls.acquire()).await {
            // No time is left to ask it in.
            Ok(Ok(_)) if deadline.remaining().is_zero() => Err(SourceError::TimedOut),
            Ok(Ok(_permit)) => {
                let is_short = deadline.remaining() < source.settings.timeout / 2;
                let answer = source.attempt(&self.clients, ask, deadline, is_probe, &mut attempts).await;
                // Who asked had no time for it, or waited for its turn: that is not the source's doing.
                if !(is_short && matches!(answer, Err(SourceError::TimedOut))) {
                    source.tell(name, &answer, is_probe);
                    if let Some(is_well) = is_well(&answer) {
                        pass.end(is_well, Instant::now());
                    }
                }
                answer
            }
            // Nothing was learned of it.
            _ => Err(SourceError::Busy),
        };
        let outcome = match &answer {
            Ok(Some(_)) => "known",
            Ok(None) => "unknown",
            Err(error) => error.name(),
        };
        self.clients.metrics.ended(name.as_str(), outcome, attempts, began.elapsed());
        let breaker = source.breaker.name();
        self.clients.metrics.open.with_label_values(&[name.as_str()]).set(i64::from(breaker == "open"));
        Fetched { answer, attempts, breaker }
    }
}

impl Source {
    fn new(settings: SourceSettings) -> Self {
        Self {
            breaker: Breaker::new(),
            budget: Budget::default(),
            calls: Semaphore::new(settings.concurrency),
            failing: AtomicBool::new(false),
            well: AtomicU32::new(0),
            settings,
        }
    }

    async fn attempt(
        &self,
        clients: &Clients,
        ask: &Ask<'_>,
        deadline: Deadline,
        is_probe: bool,
        attempts: &mut u32,
    ) -> Result<Option<Value>, SourceError> {
        let client = match self.settings.reach {
            Reach::Public => &clients.public,
            Reach::Private => &clients.private,
        };
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(usize::try_from(self.settings.retries).unwrap_or_default())
            .with_jitter()
            .build();
        self.budget.called();
        loop {
            *attempts += 1;
            let answer = timeout(deadline.remaining(), call(client, &self.settings, ask)).await;
            let error = match answer.unwrap_or(Err(SourceError::TimedOut)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_probe || self.settings.method != Method::Get || !is_passing(&error) {
                return Err(error);
            }
            match pauses.next() {
                Some(pause) if pause < deadline.remaining() && self.budget.take() => sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    /// One line for each change.
    fn tell(&self, name: &SourceName, answer: &Result<Option<Value>, SourceError>, is_probe: bool) {
        match answer {
            Err(error) => {
                self.well.store(0, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(source = name.as_str(), cause = causes(error), "a live source fails");
                }
            }
            Ok(_) if self.failing.load(Ordering::Relaxed) => {
                let enough = is_probe || self.well.fetch_add(1, Ordering::Relaxed) + 1 >= WELL;
                if enough && self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(source = name.as_str(), "a live source answers again");
                }
            }
            Ok(_) => {}
        }
    }
}

/// Whether it is worth asking, whatever its answer is worth; `None` where nothing was learned of it.
fn is_well(answer: &Result<Option<Value>, SourceError>) -> Option<bool> {
    match answer {
        Err(SourceError::Unreachable(_) | SourceError::TimedOut | SourceError::Status(408 | 429 | 500..)) => Some(false),
        Err(SourceError::Forbidden(_) | SourceError::Busy | SourceError::Open) => None,
        Ok(_) | Err(SourceError::Status(_) | SourceError::TooLarge | SourceError::Unreadable(_)) => Some(true),
    }
}

/// Whether the same call may fare better a moment later.
fn is_passing(error: &SourceError) -> bool {
    matches!(error, SourceError::Unreachable(_) | SourceError::Status(500 | 502..=504))
}
