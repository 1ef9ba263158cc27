//! What became of the lines, and how that is said: the same over HTTP and from the command line.

use std::io::Write;

use profile_domain::{ItemOutcome, ProfileId, Rejection, Version, profile::FieldProblem};
use serde_json::{Value, json};

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOutcome {
    /// Counted from 1; empty lines count, and have no outcome.
    pub line: u64,
    /// The profile, where it is known.
    pub id: Option<ProfileId>,
    /// What was done.
    pub result: LineResult,
}

/// What was done with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineResult {
    /// A profile was created, at this version.
    Created(Version),
    /// A profile was changed, and is now at this version.
    Updated(Version),
    /// The profile was as the line says already. `None`: the line said nothing, of nobody known.
    Unchanged(Option<Version>),
    /// The line was refused; it did nothing.
    Refused(LineProblem),
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Stable, for programs; the same codes as for single profiles.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Which fields, where it is about fields.
    pub fields: Vec<FieldProblem>,
}

/// How many lines had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that created a profile.
    pub created: u64,
    /// Lines that changed one.
    pub updated: u64,
    /// Lines that said what was known.
    pub unchanged: u64,
    /// Lines that did nothing.
    pub refused: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.refused
    }

    /// Counts one more.
    pub fn count(&mut self, result: &LineResult) {
        let counter = match result {
            LineResult::Created(_) => &mut self.created,
            LineResult::Updated(_) => &mut self.updated,
            LineResult::Unchanged(_) => &mut self.unchanged,
            LineResult::Refused(_) => &mut self.refused,
        };
        *counter += 1;
    }
}

impl LineOutcome {
    /// Appends it as a line of JSON.
    pub fn write_json(&self, lines: &mut Vec<u8>) {
        let (status, version) = match &self.result {
            LineResult::Created(version) => ("created", Some(*version)),
            LineResult::Updated(version) => ("updated", Some(*version)),
            LineResult::Unchanged(version) => ("unchanged", *version),
            LineResult::Refused(_) => ("refused", None),
        };
        // By hand, because there are so many of them; writing to memory doesn't fail.
        let _ = write!(lines, r#"{{"line":{},"status":"{status}""#, self.line);
        if let Some(ProfileId(id)) = self.id {
            let mut buffer = uuid::Uuid::encode_buffer();
            let id = id.hyphenated().encode_lower(&mut buffer);
            for part in [r#","id":""#, id, "\""] {
                lines.extend_from_slice(part.as_bytes());
            }
        }
        if let Some(version) = version {
            let _ = write!(lines, r#","version":{version}"#);
        }
        if let LineResult::Refused(problem) = &self.result {
            let _ = write!(lines, r#","error":{}"#, problem.json());
        }
        lines.extend_from_slice(b"}\n");
    }
}

impl LineProblem {
    /// As the member `error` of a problem.
    fn json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.fields.is_empty() {
            let field = |it: &FieldProblem| json!({"field": it.field, "code": it.code, "message": it.message});
            error["fields"] = self.fields.iter().map(field).collect();
        }
        error
    }
}

pub(super) fn result(outcome: ItemOutcome) -> LineResult {
    match outcome {
        ItemOutcome::Created(version) => LineResult::Created(version),
        ItemOutcome::Updated(version) | ItemOutcome::Deleted(version) => LineResult::Updated(version),
        ItemOutcome::Unchanged(version) => LineResult::Unchanged(version),
        ItemOutcome::Rejected(rejection) => LineResult::Refused(rejected(rejection)),
    }
}

pub(super) fn rejected(rejection: Rejection) -> LineProblem {
    let (code, message) = (rejection.code(), rejection.to_string());
    let fields = if let Rejection::Invalid(fields) = rejection { fields } else { Vec::new() };
    LineProblem { code, message, fields }
}
