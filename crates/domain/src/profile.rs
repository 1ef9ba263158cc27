//! Profiles: entities of type `profile`, with three typed fields (`name`, `email`, `bio`) and free attributes.
//!
//! Bodies of requests become documents here: flat maps from field to value, each valid by itself. Limits on the whole are
//! checked on the merged result, because sources together can exceed what one of them may send.

use serde_json::{Map, Value};

use crate::{
    changeset::Rejection,
    entity::Living,
    fact::Fact,
    json,
    key::{EntityKey, FieldName, SourceName},
    text::{EmailAddress, EmailKey, fold},
};

/// Characters (Unicode scalar values) in a name.
pub const MAX_NAME_CHARS: usize = 200;
/// Characters in a bio.
pub const MAX_BIO_CHARS: usize = 4_000;
/// Bytes of all attributes in canonical JSON.
pub const MAX_ATTRIBUTES_BYTES: usize = 64 * 1024;
/// Served fields of one entity, attributes included.
pub const MAX_FIELDS: usize = 256;
/// Fields of one entity, those that are `null` included: what a field said of being gone must be kept to be believed.
pub const MAX_STORED_FIELDS: usize = 1_024;
/// Sources that may report one field.
pub const MAX_SOURCES: usize = 32;
/// How deep arrays and objects may nest within one attribute.
pub const MAX_DEPTH: usize = 32;

const OWN_FIELDS: [&str; 3] = ["name", "email", "bio"];
const READ_ONLY: [&str; 7] = ["source", "id", "images", "version", "created_at", "updated_at", "explain"];

/// What is wrong with one member of a document, for the person who must mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The member, as `attributes.plan`.
    pub field: String,
    /// Stable, for programs.
    pub code: &'static str,
    /// For people: what is allowed.
    pub message: String,
}

/// Why a body is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// The body is JSON but no object.
    NotAnObject,
    /// Members that no profile has.
    UnknownMembers(Vec<String>),
    /// Every problem found, in the order of the members.
    Invalid(Vec<FieldProblem>),
}

/// Whether a body may hold members that GET shows but nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyMembers {
    /// They are ignored, so that what GET gave can be sent back.
    Ignored,
    /// They are unknown members.
    Refused,
}

/// A merge patch, flattened: `attributes: {…}` becomes one change for each attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfilePatch {
    /// Field → merge patch of its value; `null` removes it.
    pub fields: Map<String, Value>,
    /// The body said `attributes: null`: all of them go.
    pub clear_attributes: bool,
}

/// Reads the body of a POST or PUT: a whole profile. `name` and `email` are required.
///
/// # Errors
/// [`DocumentError`] with every problem that was found.
pub fn parse_document(body: &Value, read_only: ReadOnlyMembers) -> Result<Map<String, Value>, DocumentError> {
    let Flat { fields, mut problems, .. } = flatten(body, read_only)?;
    let document: Map<String, Value> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    for required in ["name", "email"] {
        if !document.contains_key(required) && !problems.iter().any(|problem| problem.field == required) {
            problems.push(problem(required, "REQUIRED", "is required"));
        }
    }
    for (field, value) in &document {
        problems.extend(check_value(field, value));
    }
    finish(document, problems)
}

/// Reads the body of a PATCH: a JSON merge patch (RFC 7396) of the served document.
///
/// # Errors
/// [`DocumentError`] with every problem that was found.
pub fn parse_patch(body: &Value) -> Result<ProfilePatch, DocumentError> {
    let Flat { fields, mut problems, clear_attributes } = flatten(body, ReadOnlyMembers::Ignored)?;
    for (field, value) in &fields {
        if value.is_null() && matches!(field.as_str(), "name" | "email") {
            problems.push(problem(field, "REQUIRED", "is required and can't be removed"));
        } else if !value.is_null() {
            problems.extend(check_value(field, value));
        }
    }
    finish(ProfilePatch { fields, clear_attributes }, problems)
}

/// Reads the fields that a line of an import gives: none is required, and `null` says that it is gone.
///
/// # Errors
/// [`DocumentError`] with every problem that was found.
pub(crate) fn parse_fields(body: &Value) -> Result<Map<String, Value>, DocumentError> {
    let Flat { fields, mut problems, .. } = flatten(body, ReadOnlyMembers::Ignored)?;
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        problems.extend(check_value(field, value));
    }
    finish(fields, problems)
}

struct Flat {
    fields: Map<String, Value>,
    problems: Vec<FieldProblem>,
    clear_attributes: bool,
}

fn flatten(body: &Value, read_only: ReadOnlyMembers) -> Result<Flat, DocumentError> {
    let Value::Object(members) = body else { return Err(DocumentError::NotAnObject) };
    let mut flat = Flat { fields: Map::new(), problems: Vec::new(), clear_attributes: false };
    let mut unknown = Vec::new();
    for (member, value) in members {
        match member.as_str() {
            "name" | "email" | "bio" => {
                flat.fields.insert(member.clone(), value.clone());
            }
            "attributes" => match value {
                Value::Null => flat.clear_attributes = true,
                Value::Object(attributes) => flatten_attributes(attributes, &mut flat),
                _ => flat.problems.push(problem("attributes", "INVALID_TYPE", "must be an object")),
            },
            other if read_only == ReadOnlyMembers::Ignored && READ_ONLY.contains(&other) => {}
            other => unknown.push(other.chars().take(128).collect()),
        }
    }
    if unknown.is_empty() { Ok(flat) } else { Err(DocumentError::UnknownMembers(unknown)) }
}

fn flatten_attributes(attributes: &Map<String, Value>, flat: &mut Flat) {
    for (name, value) in attributes {
        if is_own_field(name) {
            let message = "is a field of the profile itself; set it beside `attributes`";
            flat.problems.push(problem(&attribute(name), "RESERVED_FIELD", message));
        } else if let Err(error) = FieldName::parse(name) {
            let shown: String = name.chars().take(64).collect();
            flat.problems.push(problem(&attribute(&shown), "INVALID_FIELD_NAME", &error.to_string()));
        } else {
            flat.fields.insert(name.clone(), value.clone());
        }
    }
}

fn finish<T>(document: T, problems: Vec<FieldProblem>) -> Result<T, DocumentError> {
    if problems.is_empty() { Ok(document) } else { Err(DocumentError::Invalid(problems)) }
}

/// Whether a field is one of the three typed ones rather than an attribute.
#[must_use]
pub fn is_own_field(field: &str) -> bool {
    OWN_FIELDS.contains(&field)
}

/// The path of a field as clients see it: attributes live under `attributes`.
#[must_use]
pub fn path(field: &str) -> String {
    if is_own_field(field) { field.to_owned() } else { attribute(field) }
}

/// The e-mail key that a profile holds reserved: that of what source `api` says its e-mail is, whether it wins or not.
#[must_use]
pub fn reserved_email(key: &EntityKey, living: Option<&Living>) -> Option<EmailKey> {
    if !key.entity_type.is_profile() {
        return None;
    }
    let fact = living?.fields.get("email")?.of(&SourceName::api())?;
    Some(EmailAddress::parse(fact.value.as_str()?)?.key())
}

/// The folded name by which profiles are sorted and found by prefix.
#[must_use]
pub fn name_key(key: &EntityKey, living: &Living) -> Option<String> {
    if !key.entity_type.is_profile() {
        return None;
    }
    living.value("name").and_then(Value::as_str).map(fold)
}

/// Checks facts by themselves, whoever reports them.
pub(crate) fn check_facts(key: &EntityKey, facts: &[(FieldName, Fact)]) -> Result<(), Rejection> {
    let problems: Vec<_> = facts
        .iter()
        .filter(|(_, fact)| !fact.value.is_null())
        .filter_map(|(field, fact)| {
            if json::contains_nul(&fact.value) {
                return Some(problem(&path(field.as_str()), "CONTAINS_NUL", "must not contain the character U+0000"));
            }
            if key.entity_type.is_profile() {
                check_value(field.as_str(), &fact.value)
            } else {
                check_depth(field.as_str(), &fact.value)
            }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Rejection::Invalid(problems)) }
}

/// Checks a profile that is restored as it was, by every rule that holds for those that are stored.
pub(crate) fn check_restored(living: &Living) -> Result<(), FieldProblem> {
    let key =
        EntityKey { entity_type: crate::key::EntityType::profile(), reference: crate::ProfileId(uuid::Uuid::nil()).reference() };
    let facts: Vec<(FieldName, Fact)> =
        living.fields.iter().flat_map(|(field, facts)| facts.iter().map(|fact| (field.clone(), fact.clone()))).collect();
    let first = |rejection| match rejection {
        Rejection::Invalid(problems) => problems.into_iter().next(),
        _ => None,
    };
    let checked = check_facts(&key, &facts).and_then(|()| check_limits(&key, living));
    checked.map_err(|rejection| first(rejection).unwrap_or_else(|| problem("facts", "INVALID_FACTS", "are not valid")))
}

/// Checks the merged result against the limits on the whole.
pub(crate) fn check_limits(key: &EntityKey, living: &Living) -> Result<(), Rejection> {
    let own = |field: &FieldName| key.entity_type.is_profile() && is_own_field(field.as_str());
    let refuse = |code, message: String| Err(Rejection::Invalid(vec![problem("attributes", code, &message)]));
    if living.fields.len() > MAX_STORED_FIELDS {
        return refuse(
            "TOO_MANY_FIELDS",
            format!("there may be at most {MAX_STORED_FIELDS} fields, those that were removed included"),
        );
    }
    if living.served().filter(|(field, _)| !own(field)).count() > MAX_FIELDS {
        return refuse("TOO_MANY_FIELDS", format!("there may be at most {MAX_FIELDS} attributes"));
    }
    if let Some((field, _)) = living.fields.iter().find(|(_, facts)| facts.superseded.len() >= MAX_SOURCES) {
        let message = format!("at most {MAX_SOURCES} sources may report one field");
        return Err(Rejection::Invalid(vec![problem(&path(field.as_str()), "TOO_MANY_SOURCES", &message)]));
    }
    // `{"key":value,"key":value}`: the braces, and for each its quotes, colon and comma.
    let bytes: usize = 1 + living
        .served()
        .filter(|(field, _)| !own(field))
        .map(|(field, value)| json_len(field.as_str(), value) + 2)
        .sum::<usize>();
    if bytes > MAX_ATTRIBUTES_BYTES {
        return refuse(
            "ATTRIBUTES_TOO_LARGE",
            format!("all attributes together may take {MAX_ATTRIBUTES_BYTES} bytes of JSON; these take {bytes}"),
        );
    }
    Ok(())
}

fn json_len(name: &str, value: &Value) -> usize {
    Value::from(name).to_string().len() + json::canonical(value).len()
}

pub(crate) fn check_value(field: &str, value: &Value) -> Option<FieldProblem> {
    let chars = |text: &str| text.chars().count();
    match (field, value) {
        ("name", Value::String(name)) if name.trim().is_empty() || chars(name) > MAX_NAME_CHARS => {
            Some(problem("name", "INVALID_NAME", &format!("must have 1–{MAX_NAME_CHARS} characters, not all of them blank")))
        }
        ("email", Value::String(email)) if EmailAddress::parse(email).is_none() => {
            Some(problem("email", "INVALID_EMAIL", "must be an e-mail address in ASCII, such as ada@example.com"))
        }
        ("bio", Value::String(bio)) if chars(bio) > MAX_BIO_CHARS => {
            Some(problem("bio", "BIO_TOO_LONG", &format!("may have at most {MAX_BIO_CHARS} characters")))
        }
        ("name" | "email" | "bio", Value::String(_)) => None,
        ("name" | "email" | "bio", _) => Some(problem(field, "INVALID_TYPE", "must be a string")),
        _ => check_depth(field, value),
    }
}

fn check_depth(field: &str, value: &Value) -> Option<FieldProblem> {
    (json::depth(value) > MAX_DEPTH)
        .then(|| problem(&attribute(field), "TOO_DEEP", &format!("may nest at most {MAX_DEPTH} levels of arrays and objects")))
}

fn attribute(name: &str) -> String {
    format!("attributes.{name}")
}

fn problem(field: &str, code: &'static str, message: &str) -> FieldProblem {
    FieldProblem { field: field.to_owned(), code, message: message.to_owned() }
}
