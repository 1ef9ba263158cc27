//! What sources said becomes an answer.

use std::collections::BTreeMap;

use profile_domain::{
    Fact, FieldName, SourceName,
    fact::FieldFacts,
    json::canonical,
    views::{self, Section, ViewName},
};
use serde_json::{Map, Value, json};

use super::{
    Job, RETRY_AFTER, ViewAnswer, ViewError, ViewOrigin,
    gather::{Gathered, Round, Said},
};

/// What is told to all who asked.
pub(super) enum Outcome {
    Answer(ViewAnswer),
    Unknown,
    Unavailable { available: Vec<Section>, unavailable: Vec<SourceName> },
}

/// What it may be kept for.
pub(super) struct Worth {
    /// Nothing is missing.
    pub(super) is_complete: bool,
    /// No source answered, not even that it knows nothing.
    pub(super) is_of_nobody: bool,
    /// The version of the profile in the store that it was made of, where it was.
    pub(super) stored: Option<i64>,
}

/// What is known of one section.
enum Part {
    Known(Value),
    /// All who could know it said that they don't.
    Nothing,
    Failed,
}

pub(super) fn outcome(job: &Job, round: &Round) -> (Outcome, Worth) {
    let unavailable: Vec<SourceName> =
        round.gathered.iter().filter(|it| matches!(it.said, Said::Failed(_))).map(|it| it.source.clone()).collect();
    let worth = Worth {
        is_complete: unavailable.is_empty(),
        is_of_nobody: !unavailable.is_empty() && unavailable.len() == round.gathered.len(),
        stored: round.stored,
    };
    let parts: Vec<(Section, Part)> =
        job.question.sections.iter().map(|section| (*section, part(job, *section, &round.gathered))).collect();
    let available = || parts.iter().filter(|(_, part)| !matches!(part, Part::Failed)).map(|(section, _)| *section).collect();
    if !parts.iter().any(|(_, part)| matches!(part, Part::Known(_))) {
        let outcome =
            if unavailable.is_empty() { Outcome::Unknown } else { Outcome::Unavailable { available: available(), unavailable } };
        return (outcome, worth);
    }
    let available: Vec<Section> = available();
    let body = match job.question.view {
        ViewName::Profile => parts.into_iter().next().map_or(Value::Null, |(_, part)| known(part)),
        ViewName::Customer => {
            let failed = available.len() < parts.len();
            let mut members: Map<String, Value> =
                parts.into_iter().map(|(section, part)| (section.member().to_owned(), known(part))).collect();
            if failed {
                let available: Vec<&str> = available.iter().map(|section| section.as_str()).collect();
                members.insert(
                    "error".into(),
                    json!({
                        "code": "PARTIAL_DATA_FETCH",
                        "message": "some sources didn't answer; what they would have said is null",
                        "available_services": available,
                        "retry_after": RETRY_AFTER,
                    }),
                );
            }
            Value::Object(members)
        }
    };
    (Outcome::Answer(ViewAnswer { body: canonical(&body).into(), unavailable, origin: ViewOrigin::Sources }), worth)
}

/// The answer that `job` would get, and how it came about.
pub(super) fn explained(job: &Job, round: &Round) -> Result<ViewAnswer, ViewError> {
    let fields: Map<String, Value> = job
        .question
        .sections
        .iter()
        .flat_map(|section| {
            let merged = merged(job, *section, &round.gathered).unwrap_or_default();
            let sources = sources(job, *section);
            let believed = job.loaded.catalog.believed(sources);
            merged
                .iter()
                .map(|(field, facts)| {
                    let others: Vec<Value> = facts.superseded.iter().map(fact).collect();
                    let explained = json!({"winner": fact(&facts.winner), "others": others, "rule": believed.explain(field)});
                    (field.as_str().to_owned(), explained)
                })
                .collect::<Vec<_>>()
        })
        .collect();
    let asked: Map<String, Value> = round.gathered.iter().map(|it| (it.source.as_str().to_owned(), status(it))).collect();
    let explain = json!({"fields": fields, "sources": asked});
    match outcome(job, round).0 {
        Outcome::Answer(answer) => {
            let mut body: Map<String, Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
            body.insert("explain".into(), explain);
            Ok(ViewAnswer { body: canonical(&Value::Object(body)).into(), ..answer })
        }
        Outcome::Unknown => Err(ViewError::Unknown),
        Outcome::Unavailable { available, unavailable } => Err(ViewError::Unavailable { available, unavailable }),
    }
}

fn fact(fact: &Fact) -> Value {
    let date = (fact.reference_date != profile_domain::Moment::MIN).then(|| fact.reference_date.to_string());
    json!({"source": fact.source.as_str(), "reference_date": date, "value": fact.value})
}

fn status(it: &Gathered) -> Value {
    let status = match it.said {
        Said::Facts(_) => "known",
        Said::Nothing => "unknown",
        Said::Failed(why) => why,
    };
    let took = f64::from(u32::try_from(it.took.as_micros()).unwrap_or(u32::MAX)) / 1e3;
    json!({"status": status, "duration_ms": took, "attempts": it.attempts, "breaker": it.breaker})
}

fn known(part: Part) -> Value {
    match part {
        Part::Known(value) => value,
        Part::Nothing | Part::Failed => Value::Null,
    }
}

fn part(job: &Job, section: Section, gathered: &[Gathered]) -> Part {
    let Some(merged) = merged(job, section, gathered) else {
        let sources = sources(job, section);
        let failed = gathered.iter().any(|it| sources.contains(&it.source) && matches!(it.said, Said::Failed(_)));
        return if failed { Part::Failed } else { Part::Nothing };
    };
    let id = &job.question.id;
    match section {
        Section::Fields => Part::Known(views::profile(id, &merged)),
        // Each source was checked by itself, and values are taken whole from one of them.
        _ => views::section(section, id, &merged, job.question.period).map_or(Part::Failed, Part::Known),
    }
}

/// `None` where no source knows anything.
fn merged(job: &Job, section: Section, gathered: &[Gathered]) -> Option<BTreeMap<FieldName, FieldFacts>> {
    let sources = sources(job, section);
    let mut facts = Vec::new();
    let mut known = false;
    for it in gathered.iter().filter(|it| sources.contains(&it.source)) {
        if let Said::Facts(said) = &it.said {
            known = true;
            facts.extend(said.iter().cloned());
        }
    }
    known.then(|| job.loaded.catalog.believed(sources).merge(facts))
}

fn sources(job: &Job, section: Section) -> &[SourceName] {
    let (_, panel) = job.panel();
    panel.get(&section).map_or(&[], Vec::as_slice)
}
