//! Lines of NDJSON: what an import takes, and what an export gives and a restore takes back.
//!
//! An exported line holds everything that a store keeps of one profile, in one canonical form, so that exports of equal
//! contents are equal bytes whichever store they come from. The fact that wins stands first; the others follow by source.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    entity::{Entity, Living},
    fact::{Fact, FieldFacts},
    json::canonical,
    key::{EntityKey, FieldName, ProfileId, SourceName, Version},
    moment::Moment,
    profile::{self, DocumentError, FieldProblem},
};

/// Bytes of one line, at most: the limits of a profile leave room within it.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A profile as an import's line gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportLine {
    /// The profile to change, or to create under this id.
    pub id: Option<ProfileId>,
    /// Field → value; a `null` says that it is gone.
    pub fields: Map<String, Value>,
}

/// Reads a line of an import: a profile as GET shows it, with or without an id. `id` and the fields given count; the other
/// read-only members are ignored.
///
/// # Errors
/// [`DocumentError`] with every problem that was found.
pub fn parse_import(line: &Value) -> Result<ImportLine, DocumentError> {
    let id = match line.get("id") {
        None | Some(Value::Null) => None,
        Some(id) => match id.as_str().and_then(|text| text.parse().ok()) {
            Some(id) => Some(id),
            None => return Err(invalid("id", "INVALID_ID", "must be a UUID")),
        },
    };
    let fields = profile::parse_fields(line)?;
    if id.is_none() && !fields.get("email").is_some_and(Value::is_string) {
        return Err(invalid("email", "REQUIRED", "is required where there is no id"));
    }
    Ok(ImportLine { id, fields })
}

/// Everything about one profile, as a line of an export without its line break. Canonical: members are sorted.
#[must_use]
pub fn export(key: &EntityKey, entity: &Entity) -> String {
    let mut line = Map::new();
    line.insert("id".into(), key.reference.as_str().into());
    line.insert("version".into(), entity.version.get().into());
    if let Some(floor) = entity.floor {
        line.insert("deleted_at".into(), floor.to_string().into());
    }
    match &entity.living {
        None => {
            line.insert("deleted".into(), true.into());
        }
        Some(living) => {
            line.insert("created_at".into(), living.created_at.to_string().into());
            line.insert("updated_at".into(), living.updated_at.to_string().into());
            line.insert("rules_revision".into(), living.rules_revision.into());
            if let Some(email) = profile::reserved_email(key, Some(living)) {
                line.insert("reserved_email".into(), email.as_str().into());
            }
            let facts = living.fields.iter().map(|(field, facts)| {
                let facts: Vec<Value> = facts.iter().map(fact).collect();
                (field.as_str().to_owned(), Value::Array(facts))
            });
            line.insert("facts".into(), Value::Object(facts.collect()));
        }
    }
    canonical(&Value::Object(line))
}

fn fact(fact: &Fact) -> Value {
    json!({"source": fact.source.as_str(), "reference_date": fact.reference_date.to_string(), "value": fact.value})
}

const TOMBSTONE: [&str; 4] = ["id", "version", "deleted_at", "deleted"];

/// Reads a line of an export back.
///
/// # Errors
/// What is missing or malformed; nothing of the line is to be believed then.
pub fn parse_export(line: &Value) -> Result<(ProfileId, Entity), FieldProblem> {
    let members = line.as_object().ok_or_else(|| problem("", "INVALID_TYPE", "must be a JSON object"))?;
    let known =
        ["id", "version", "deleted_at", "deleted", "created_at", "updated_at", "rules_revision", "reserved_email", "facts"];
    if let Some(unknown) = members.keys().find(|member| !known.contains(&member.as_str())) {
        return Err(problem(unknown, "UNKNOWN_MEMBER", "is no member of an exported profile"));
    }
    let id: ProfileId = text(members, "id")?.parse().map_err(|_| problem("id", "INVALID_ID", "must be a UUID"))?;
    let version = members.get("version").and_then(Value::as_i64).and_then(Version::new);
    let version = version.ok_or_else(|| problem("version", "INVALID_VERSION", "must be a number from 1"))?;
    let floor = if members.contains_key("deleted_at") { Some(moment(members, "deleted_at")?) } else { None };
    let living = match members.get("deleted") {
        Some(Value::Bool(true)) if floor.is_none() => {
            return Err(problem("deleted_at", "REQUIRED", "is required of a deleted profile"));
        }
        // What a tombstone can't keep must not get lost without a word.
        Some(Value::Bool(true)) => match members.keys().find(|member| !TOMBSTONE.contains(&member.as_str())) {
            Some(member) => return Err(problem(member, "UNKNOWN_MEMBER", "is no member of a deleted profile")),
            None => None,
        },
        None | Some(Value::Bool(false)) => Some(living(members)?),
        Some(_) => return Err(problem("deleted", "INVALID_TYPE", "must be true or left out")),
    };
    let entity = Entity { version, floor, living };
    let reserved = profile::reserved_email(&EntityKey::profile(id), entity.living.as_ref());
    if members.get("reserved_email").and_then(Value::as_str) != reserved.as_ref().map(crate::text::EmailKey::as_str) {
        return Err(problem("reserved_email", "MISMATCH", "must be the folded e-mail that source api reported"));
    }
    Ok((id, entity))
}

fn living(members: &Map<String, Value>) -> Result<Living, FieldProblem> {
    let revision = members.get("rules_revision").and_then(Value::as_i64).and_then(|revision| i32::try_from(revision).ok());
    let mut fields = BTreeMap::new();
    let all = members.get("facts").and_then(Value::as_object);
    for (name, facts) in all.ok_or_else(|| problem("facts", "REQUIRED", "must be an object of facts by field"))? {
        let path = || format!("facts.{name}");
        let field = FieldName::parse(name).map_err(|error| problem(&path(), "INVALID_FIELD_NAME", &error.to_string()))?;
        let facts = facts.as_array().and_then(|facts| facts.iter().map(parse_fact).collect::<Option<Vec<_>>>());
        let mut facts = facts.unwrap_or_default().into_iter();
        let winner =
            facts.next().ok_or_else(|| problem(&path(), "INVALID_FACTS", "must be a list of facts, the winner first"))?;
        let mut superseded: Vec<Fact> = facts.collect();
        superseded.sort_unstable_by(|a, b| a.source.cmp(&b.source));
        let repeated = superseded.windows(2).any(|pair| pair[0].source == pair[1].source);
        if repeated || superseded.iter().any(|fact| fact.source == winner.source) {
            return Err(problem(&path(), "INVALID_FACTS", "must hold at most one fact of each source"));
        }
        fields.insert(field, FieldFacts { winner, superseded });
    }
    let living = Living {
        created_at: moment(members, "created_at")?,
        updated_at: moment(members, "updated_at")?,
        rules_revision: revision.ok_or_else(|| problem("rules_revision", "REQUIRED", "must be a number"))?,
        fields,
    };
    profile::check_restored(&living)?;
    Ok(living)
}

fn parse_fact(fact: &Value) -> Option<Fact> {
    let source = SourceName::parse(fact.get("source")?.as_str()?).ok()?;
    let reference_date = fact.get("reference_date")?.as_str()?.parse().ok()?;
    Some(Fact { source, reference_date, value: crate::json::normalise(fact.get("value")?.clone()) })
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, FieldProblem> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| problem(name, "REQUIRED", "must be a string"))
}

fn moment(members: &Map<String, Value>, name: &str) -> Result<Moment, FieldProblem> {
    text(members, name)?.parse().map_err(|error: crate::moment::MomentError| problem(name, "INVALID_TIME", &error.to_string()))
}

fn invalid(field: &str, code: &'static str, message: &str) -> DocumentError {
    DocumentError::Invalid(vec![problem(field, code, message)])
}

fn problem(field: &str, code: &'static str, message: &str) -> FieldProblem {
    FieldProblem { field: field.to_owned(), code, message: message.to_owned() }
}
