//! The stored form of facts and receipts: JSON columns that are the same in every store.
//!
//! An entity's facts are three columns. `properties` is the plain map from field to winning value, so that a read of a
//! profile parses nothing else. `provenance` names source and date of the winners, grouped, because most fields of a write
//! share them. `superseded` holds the facts that lost, and is null where there are none.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    changeset::{ItemOutcome, ItemReceipt, Receipt, Replay},
    entity::Living,
    fact::{Fact, FieldFacts},
    json::normalise,
    key::{EntityKey, EntityType, FieldName, Reference, SourceName, Version},
    moment::Moment,
    task::{TaskReceipt, TaskStatus},
};

/// Stored JSON that this code can't have written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("stored {0} is malformed")]
pub struct Malformed(pub &'static str);

/// The JSON columns of a living entity.
#[derive(Clone, Debug, PartialEq)]
pub struct FactColumns {
    /// `{field: winning value}`, nulls included.
    pub properties: Map<String, Value>,
    /// `[[source, date in µs, [field, …]], …]`.
    pub provenance: Value,
    /// `{field: [[source, date in µs, value], …]}`.
    pub superseded: Option<Map<String, Value>>,
}

impl FactColumns {
    /// Of a living entity.
    #[must_use]
    pub fn of(living: &Living) -> Self {
        let mut properties = Map::new();
        let mut groups: BTreeMap<(&SourceName, Moment), Vec<&str>> = BTreeMap::new();
        let mut superseded = Map::new();
        for (field, facts) in &living.fields {
            let winner = &facts.winner;
            properties.insert(field.as_str().to_owned(), winner.value.clone());
            groups.entry((&winner.source, winner.reference_date)).or_default().push(field.as_str());
            if !facts.superseded.is_empty() {
                let losers = facts
                    .superseded
                    .iter()
                    .map(|fact| json!([fact.source.as_str(), fact.reference_date.as_micros(), fact.value]))
                    .collect();
                superseded.insert(field.as_str().to_owned(), Value::Array(losers));
            }
        }
        let provenance =
            groups.into_iter().map(|((source, date), fields)| json!([source.as_str(), date.as_micros(), fields])).collect();
        Self { properties, provenance, superseded: (!superseded.is_empty()).then_some(superseded) }
    }

    /// Back to facts by field.
    ///
    /// # Errors
    /// [`Malformed`] names the column that can't have been written by [`Self::of`].
    pub fn into_fields(self) -> Result<BTreeMap<FieldName, FieldFacts>, Malformed> {
        const PROVENANCE: Malformed = Malformed("provenance");
        const SUPERSEDED: Malformed = Malformed("superseded");
        let mut properties = self.properties;
        let mut fields = BTreeMap::new();
        for group in self.provenance.as_array().ok_or(PROVENANCE)? {
            let [source, date, names] = three(group).ok_or(PROVENANCE)?;
            let source = source_name(source).ok_or(PROVENANCE)?;
            let reference_date = moment(date).ok_or(PROVENANCE)?;
            for name in names.as_array().ok_or(PROVENANCE)? {
                let name = name.as_str().ok_or(PROVENANCE)?;
                let field = FieldName::parse(name).map_err(|_| PROVENANCE)?;
                let value = normalise(properties.remove(name).ok_or(PROVENANCE)?);
                fields.insert(field, FieldFacts::new(Fact { source: source.clone(), reference_date, value }));
            }
        }
        if !properties.is_empty() {
            return Err(PROVENANCE);
        }
        for (name, losers) in self.superseded.unwrap_or_default() {
            let facts = fields.get_mut(name.as_str()).ok_or(SUPERSEDED)?;
            for loser in losers.as_array().ok_or(SUPERSEDED)? {
                let [source, date, value] = three(loser).ok_or(SUPERSEDED)?;
                facts.superseded.push(Fact {
                    source: source_name(source).ok_or(SUPERSEDED)?,
                    reference_date: moment(date).ok_or(SUPERSEDED)?,
                    value: normalise(value.clone()),
                });
            }
        }
        Ok(fields)
    }
}

fn three(value: &Value) -> Option<[&Value; 3]> {
    let [a, b, c] = value.as_array()?.as_slice() else { return None };
    Some([a, b, c])
}

fn source_name(value: &Value) -> Option<SourceName> {
    SourceName::parse(value.as_str()?).ok()
}

fn moment(value: &Value) -> Option<Moment> {
    value.as_i64().map(Moment::from_micros)
}

/// The receipt as it is kept under an idempotency key: the time, `[type, reference, kind, version]` for each write, and `[id,
/// status, run_at, created_at]` for each task.
/// Changesets with a key have only required writes, so there are no rejections.
#[must_use]
pub fn receipt_to_json(receipt: &Receipt) -> Value {
    let outcomes: Vec<Value> = receipt
        .outcomes
        .iter()
        .map(|item| {
            let (kind, version) = match &item.outcome {
                ItemOutcome::Created(version) => ("created", Some(*version)),
                ItemOutcome::Updated(version) => ("updated", Some(*version)),
                ItemOutcome::Deleted(version) => ("deleted", Some(*version)),
                ItemOutcome::Unchanged(version) => ("unchanged", *version),
                ItemOutcome::Rejected(_) => ("rejected", None),
            };
            json!([item.key.entity_type.as_str(), item.key.reference.as_str(), kind, version.map(Version::get)])
        })
        .collect();
    let tasks = receipt.tasks.iter().map(|task| {
        let [run_at, created_at] = [task.run_at, task.created_at].map(Moment::as_micros);
        json!([task.id.to_string(), task.status.as_str(), run_at, created_at])
    });
    let tasks: Vec<Value> = tasks.collect();
    let mut stored = json!({"at": receipt.at.as_micros(), "outcomes": outcomes});
    if !tasks.is_empty() {
        stored["tasks"] = Value::Array(tasks);
    }
    stored
}

/// The receipt of a replay. `None` is what a deletion leaves: the outcomes are forgotten.
///
/// # Errors
/// [`Malformed`] if [`receipt_to_json`] can't have written it.
pub fn receipt_from_json(stored: Option<&Value>) -> Result<Receipt, Malformed> {
    const RECEIPT: Malformed = Malformed("receipt");
    let Some(stored) = stored else {
        let (outcomes, tasks) = (Vec::new(), Vec::new());
        return Ok(Receipt { at: Moment::MIN, outcomes, states: HashMap::new(), tasks, replay: Replay::Forgotten });
    };
    let outcomes = stored["outcomes"].as_array().ok_or(RECEIPT)?.iter().map(|stored| item(stored).ok_or(RECEIPT));
    Ok(Receipt {
        at: moment(&stored["at"]).ok_or(RECEIPT)?,
        outcomes: outcomes.collect::<Result<_, _>>()?,
        states: HashMap::new(),
        tasks: stored["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|stored| task(stored).ok_or(RECEIPT))
            .collect::<Result<_, _>>()?,
        replay: Replay::Yes,
    })
}

fn task(stored: &Value) -> Option<TaskReceipt> {
    let [id, status, run_at, created_at] = stored.as_array()?.as_slice() else { return None };
    Some(TaskReceipt {
        id: id.as_str()?.parse().ok()?,
        status: TaskStatus::parse(status.as_str()?)?,
        run_at: moment(run_at)?,
        created_at: moment(created_at)?,
    })
}

fn item(stored: &Value) -> Option<ItemReceipt> {
    let [entity_type, reference, kind, version] = stored.as_array()?.as_slice() else { return None };
    let key = EntityKey {
        entity_type: EntityType::parse(entity_type.as_str()?).ok()?,
        reference: Reference::parse(reference.as_str()?).ok()?,
    };
    let version = version.as_i64().and_then(Version::new);
    let outcome = match kind.as_str()? {
        "created" => ItemOutcome::Created(version?),
        "updated" => ItemOutcome::Updated(version?),
        "deleted" => ItemOutcome::Deleted(version?),
        "unchanged" => ItemOutcome::Unchanged(version),
        _ => return None,
    };
    Some(ItemReceipt { key, outcome })
}
