//! All sources at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use profile_domain::{
    EntityKey, Fact, FieldName, ProfileId, SourceName,
    views::{Catalog, LiveSource, check},
};
use profile_ports::{Ask, Deadline, causes};
use tokio::time::timeout;

use super::Job;

/// What one source said.
pub(super) struct Gathered {
    pub(super) source: SourceName,
    pub(super) said: Said,
    pub(super) took: Duration,
    pub(super) attempts: u32,
    pub(super) breaker: &'static str,
}

pub(super) enum Said {
    /// What it knows.
    Facts(Vec<(FieldName, Fact)>),
    /// That it knows nothing.
    Nothing,
    /// Nothing that could be used, and why.
    Failed(&'static str),
}

/// What all of them said.
pub(super) struct Round {
    pub(super) gathered: Vec<Gathered>,
    /// The version of the profile that the store gave; 0: that there is none. `None`: it wasn't asked, or didn't answer.
    pub(super) stored: Option<i64>,
}

impl Job {
    /// Asks every source of the question, and waits for all until the deadline.
    pub(super) async fn gather(&self, deadline: Deadline) -> Round {
        let (_, panel) = self.panel();
        let period = self.question.period.map(|period| period.to_string());
        let ask = Ask {
            tenant: &self.tenant,
            id: &self.question.id,
            period: period.as_deref(),
            traceparent: self.question.traceparent.as_deref(),
        };
        let asked = Catalog::asked(panel, &self.question.sections).into_iter().filter_map(|name| {
            let source = self.loaded.catalog.sources.get(name)?;
            Some(async move {
                if source.is_store {
                    self.ask_store(name, deadline).await
                } else {
                    (self.ask(name, source, &ask, deadline).await, None)
                }
            })
        });
        let mut round = Round { gathered: Vec::new(), stored: None };
        for (gathered, stored) in join_all(asked).await {
            round.gathered.push(gathered);
            round.stored = round.stored.or(stored);
        }
        round
    }

    async fn ask(&self, name: &SourceName, source: &LiveSource, ask: &Ask<'_>, deadline: Deadline) -> Gathered {
        let began = Instant::now();
        let fetched = timeout(deadline.remaining(), self.loaded.sources.fetch(name, ask, deadline)).await;
        let took = began.elapsed();
        let Ok(fetched) = fetched else {
            return Gathered { source: name.clone(), said: Said::Failed("timed_out"), took, attempts: 1, breaker: "closed" };
        };
        let said = match fetched.answer {
            Ok(None) => Said::Nothing,
            Err(error) => Said::Failed(error.name()),
            Ok(Some(document)) => {
                let usable = source.mapping.facts(name, ask.id, document, self.now()).map_err(|error| error.to_string());
                let usable = usable.and_then(|facts| self.check(name, &facts).map(|()| facts));
                self.tell(name, usable.as_ref().err().map(String::as_str));
                usable.map_or(Said::Failed("unusable"), Said::Facts)
            }
        };
        Gathered { source: name.clone(), said, took, attempts: fetched.attempts, breaker: fetched.breaker }
    }

    /// What the store has, as if it had been asked over the network.
    async fn ask_store(&self, name: &SourceName, deadline: Deadline) -> (Gathered, Option<i64>) {
        let began = Instant::now();
        let gathered = |said| Gathered { source: name.clone(), said, took: began.elapsed(), attempts: 1, breaker: "closed" };
        // What is no UUID names no profile.
        let Ok(id) = self.question.id.parse::<ProfileId>() else { return (gathered(Said::Nothing), Some(0)) };
        let key = EntityKey::profile(id);
        let entity = timeout(deadline.remaining(), self.app.store.entity(&self.tenant, &key, deadline)).await;
        let entity = match entity {
            Ok(Ok(entity)) => entity,
            Ok(Err(error)) => {
                self.tell(name, Some(&causes(&error)));
                return (gathered(Said::Failed("unreachable")), None);
            }
            Err(_) => return (gathered(Said::Failed("timed_out")), None),
        };
        self.tell(name, None);
        let Some((version, living)) = entity.and_then(|entity| Some((entity.version, entity.living?))) else {
            return (gathered(Said::Nothing), Some(0));
        };
        let facts: Vec<_> =
            living.fields.into_iter().map(|(field, facts)| (field, Fact { source: name.clone(), ..facts.winner })).collect();
        let said = if self.check(name, &facts).is_ok() { Said::Facts(facts) } else { Said::Failed("unusable") };
        (gathered(said), Some(version.get()))
    }

    /// Whether what a source says can be in each section that it is a source of.
    fn check(&self, name: &SourceName, facts: &[(FieldName, Fact)]) -> Result<(), String> {
        let (_, panel) = self.panel();
        let sections = self.question.sections.iter().filter(|section| panel.get(section).is_some_and(|of| of.contains(name)));
        sections.copied().try_for_each(|section| check(section, facts).map_err(|error| error.to_string()))
    }

    /// One line for each change.
    fn tell(&self, name: &SourceName, trouble: Option<&str>) {
        let mut unusable = self.loaded.unusable.lock();
        match trouble {
            Some(cause) if unusable.insert(name.clone()) => {
                tracing::warn!(source = name.as_str(), cause, "a live source gives nothing that can be used");
            }
            None if unusable.remove(name) => tracing::info!(source = name.as_str(), "a live source is of use again"),
            _ => {}
        }
    }
}
