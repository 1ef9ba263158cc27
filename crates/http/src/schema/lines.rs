//! What the lines of imports and exports look like.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Attributes, Fact, ProblemError};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportParameters {
    /// Who reports what the lines say. Only `api` reserves e-mail addresses.
    #[param(
        required = false,
        nullable = false,
        default = "api",
        min_length = 1,
        max_length = 63,
        pattern = "^[a-z0-9][a-z0-9._-]*$"
    )]
    source: String,
    /// When it was true. Without one, source `api` reports as PUT does and any other reports as of now. A line with a date more
    /// than 5 minutes ahead is refused.
    #[param(required = false, nullable = false, format = DateTime)]
    reference_date: String,
}

/// One line of an import: a profile as GET shows it, whole or in part. Without an `id` it needs `email`, and from source `api`
/// `name` as well.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Ada Lovelace", "email": "ada@example.com", "attributes": {"plan": "pro"}}))]
pub(crate) struct ImportLine {
    id: Option<Uuid>,
    /// Not all of it blank.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    name: Option<String>,
    /// In ASCII. From source `api` it is reserved: no two profiles of a tenant share one, whatever its case.
    #[schema(format = "email", max_length = 254)]
    email: Option<String>,
    #[schema(max_length = 4000)]
    bio: Option<String>,
    attributes: Option<Attributes>,
    source: Option<Value>,
    images: Option<Value>,
    version: Option<Value>,
    created_at: Option<Value>,
    updated_at: Option<Value>,
    explain: Option<Value>,
}

/// One line of an import's answer: the outcome of one line, or the summary.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"line": 1, "status": "created", "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "version": 1}))]
pub(crate) struct ImportOutcome {
    /// Counted from 1; empty lines count, too.
    #[schema(required = false, nullable = false, minimum = 1)]
    line: u64,
    #[schema(required = false, nullable = false)]
    status: LineStatus,
    /// The profile; left out where none was found for a line that was refused.
    #[schema(required = false, nullable = false)]
    id: Uuid,
    /// The version it has now.
    #[schema(required = false, nullable = false, minimum = 1)]
    version: i64,
    /// Why the line was refused.
    #[schema(required = false, nullable = false)]
    error: ProblemError,
    /// On the last line, alone.
    #[schema(required = false, nullable = false)]
    summary: ImportSummary,
}

/// What was done with one line.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LineStatus {
    Created,
    Updated,
    Unchanged,
    Refused,
}

/// The last line of an import's answer.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"lines": 3, "created": 1, "updated": 0, "unchanged": 1, "refused": 1, "complete": true}))]
pub(crate) struct ImportSummary {
    /// Lines that have an outcome.
    lines: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    /// Whether every line has an outcome.
    complete: bool,
    /// Why the import ended early.
    #[schema(required = false, nullable = false)]
    error: ProblemError,
}

/// One line of an export: all that is kept of one profile.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "version": 3, "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-02-01T08:30:00.25Z", "rules_revision": 0, "reserved_email": "ada@example.com", "facts": {"email": [
        {"source": "api", "reference_date": "2026-01-31T12:00:00Z", "value": "Ada@example.com"}
    ]}
}))]
pub(crate) struct ExportedProfile {
    id: Uuid,
    #[schema(minimum = 1)]
    version: i64,
    /// Only of one that was deleted, and then with no more than `id`, `version` and `deleted_at`.
    #[schema(required = false, nullable = false)]
    deleted: bool,
    /// When it was deleted, which is kept of one that lives again.
    #[schema(required = false, nullable = false, format = DateTime)]
    deleted_at: String,
    #[schema(required = false, nullable = false, format = DateTime)]
    created_at: String,
    #[schema(required = false, nullable = false, format = DateTime)]
    updated_at: String,
    /// Of the rules by which the winners were chosen.
    #[schema(required = false, nullable = false)]
    rules_revision: i32,
    /// The e-mail address that it has reserved, in the form in which addresses are compared.
    #[schema(required = false, nullable = false)]
    reserved_email: String,
    /// By field: the fact that wins first, and then the others by source.
    #[schema(required = false, nullable = false)]
    facts: BTreeMap<String, Vec<Fact>>,
}
