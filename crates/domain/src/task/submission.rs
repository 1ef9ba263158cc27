//! What a client sends to have something done later.

use serde_json::{Map, Value};

use super::{DEFAULT_ATTEMPTS, Due, MAX_ATTEMPTS, MAX_PAYLOAD_BYTES, MAX_UNIQUE_KEY_BYTES, OnConflict, Unique, parse_delay};
use crate::{
    json::canonical,
    key::{ProfileId, Reference},
    moment::Moment,
    profile::{DocumentError, FieldProblem},
};

const MEMBERS: [&str; 8] = ["type", "payload", "delay", "run_at", "max_attempts", "unique_key", "on_conflict", "profile_id"];

/// A task as it was asked for. Whether there is such a type, and whether the payload suits it, is the type's to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// As it was written.
    pub task_type: String,
    /// An object; empty if none was given.
    pub payload: Value,
    /// When; at once if nothing was said.
    pub due: Due,
    /// Starts that may fail.
    pub max_attempts: u32,
    /// Its claim to be the only one.
    pub unique: Option<Unique>,
    /// The profile that it belongs to.
    pub profile: Option<Reference>,
}

/// Reads the body of a submission.
///
/// # Errors
/// [`DocumentError`] with every problem that was found.
pub fn parse_submission(body: &Value) -> Result<Submission, DocumentError> {
    let Value::Object(members) = body else { return Err(DocumentError::NotAnObject) };
    let unknown: Vec<String> = members
        .keys()
        .filter(|member| !MEMBERS.contains(&member.as_str()))
        .map(|member| member.chars().take(128).collect())
        .collect();
    if !unknown.is_empty() {
        return Err(DocumentError::UnknownMembers(unknown));
    }
    let mut reader = Reader { members, problems: Vec::new() };
    let submission = Submission {
        task_type: reader.task_type(),
        payload: reader.payload(),
        due: reader.due(),
        max_attempts: reader.max_attempts(),
        unique: reader.unique(),
        profile: reader.profile(),
    };
    if reader.problems.is_empty() { Ok(submission) } else { Err(DocumentError::Invalid(reader.problems)) }
}

struct Reader<'b> {
    members: &'b Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl<'b> Reader<'b> {
    /// What was given; `null` is as good as nothing.
    fn get(&self, member: &str) -> Option<&'b Value> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, field: &str, code: &'static str, message: impl Into<String>) {
        self.problems.push(FieldProblem { field: field.into(), code, message: message.into() });
    }

    fn task_type(&mut self) -> String {
        match self.get("type") {
            Some(Value::String(name)) => return name.clone(),
            Some(_) => self.refuse("type", "INVALID_TYPE", "must be a string"),
            None => self.refuse("type", "REQUIRED", "is required"),
        }
        String::new()
    }

    fn payload(&mut self) -> Value {
        match self.get("payload") {
            None => {}
            Some(payload @ Value::Object(_)) if canonical(payload).len() <= MAX_PAYLOAD_BYTES => return payload.clone(),
            Some(Value::Object(_)) => {
                self.refuse("payload", "TOO_LARGE", format!("may have at most {MAX_PAYLOAD_BYTES} bytes of JSON"));
            }
            Some(_) => self.refuse("payload", "INVALID_TYPE", "must be an object"),
        }
        Value::Object(Map::new())
    }

    fn due(&mut self) -> Due {
        match (self.get("delay"), self.get("run_at")) {
            (Some(_), Some(_)) => self.refuse("run_at", "CONFLICTING", "can't be given together with delay"),
            (Some(delay), None) => match parse_delay(delay) {
                Ok(micros) => return Due::After(micros),
                Err(error) => self.refuse("delay", "INVALID_DELAY", error.to_string()),
            },
            (None, Some(at)) => match at.as_str().map(str::parse::<Moment>) {
                Some(Ok(at)) => return Due::At(at),
                _ => self.refuse("run_at", "INVALID_TIME", "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"),
            },
            (None, None) => {}
        }
        Due::After(0)
    }

    fn max_attempts(&mut self) -> u32 {
        let Some(value) = self.get("max_attempts") else { return DEFAULT_ATTEMPTS };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (1..=MAX_ATTEMPTS).contains(&number) => number,
            _ => {
                self.refuse("max_attempts", "OUT_OF_RANGE", format!("must be a whole number from 1 to {MAX_ATTEMPTS}"));
                DEFAULT_ATTEMPTS
            }
        }
    }

    fn unique(&mut self) -> Option<Unique> {
        let on_conflict = match self.get("on_conflict").map(Value::as_str) {
            None => None,
            Some(Some("keep")) => Some(OnConflict::Keep),
            Some(Some("replace")) => Some(OnConflict::Replace),
            Some(_) => {
                self.refuse("on_conflict", "INVALID_VALUE", "must be keep or replace");
                return None;
            }
        };
        match self.get("unique_key") {
            Some(Value::String(key)) if (1..=MAX_UNIQUE_KEY_BYTES).contains(&key.len()) => {
                return Some(Unique { key: key.clone(), on_conflict: on_conflict.unwrap_or_default() });
            }
            Some(_) => {
                self.refuse("unique_key", "INVALID_VALUE", format!("must be a string of 1–{MAX_UNIQUE_KEY_BYTES} bytes"));
            }
            None if on_conflict.is_some() => self.refuse("on_conflict", "CONFLICTING", "needs a unique_key"),
            None => {}
        }
        None
    }

    fn profile(&mut self) -> Option<Reference> {
        let value = self.get("profile_id")?;
        let id = value.as_str().and_then(|text| text.parse::<ProfileId>().ok());
        if id.is_none() {
            self.refuse("profile_id", "INVALID_ID", "must be a UUID");
        }
        id.map(ProfileId::reference)
    }
}
