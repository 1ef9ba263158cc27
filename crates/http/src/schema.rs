//! What bodies and parameters look like, for the documentation alone: bodies are parsed by `domain`, parameters by `query`.
//!
//! Bodies of requests are closed, since unknown members are refused. Answers are open: they may get members that their readers
//! don't know.
#![expect(dead_code, reason = "no value of these types is ever made; only their shape is wanted")]

mod lines;
mod tasks;
mod views;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

pub(crate) use lines::{ExportedProfile, ImportLine, ImportOutcome, ImportParameters};
pub(crate) use tasks::{
    ExportParameters, NewTask, SubmittedTask, Task, TaskListParameters, TaskPage, TaskPath, WaitParameter, with_kinds,
};
pub(crate) use views::{Customer, CustomerParameters, ExplainView, IdParameter};

/// A profile to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Ada Lovelace", "email": "ada@example.com", "bio": "Wrote the first program.", "attributes": {"plan": "pro"}
}))]
pub(crate) struct NewProfile {
    /// Not all of it blank.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    name: String,
    /// In ASCII. No two profiles of a tenant share one, whatever its case.
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(max_length = 4000)]
    bio: Option<String>,
    attributes: Option<Attributes>,
}

/// A whole profile. The members that nobody can set are ignored, so that what GET gave can be sent back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Ada King", "email": "ada@example.com", "attributes": {"plan": "pro"}}))]
pub(crate) struct ReplaceProfile {
    /// Not all of it blank.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    name: String,
    /// In ASCII. No two profiles of a tenant share one, whatever its case.
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(max_length = 4000)]
    bio: Option<String>,
    attributes: Option<Attributes>,
    source: Option<Value>,
    id: Option<Value>,
    images: Option<Value>,
    version: Option<Value>,
    created_at: Option<Value>,
    updated_at: Option<Value>,
    explain: Option<Value>,
}

/// A JSON Merge Patch (RFC 7396) of a profile. `null` removes; `name` and `email` can't be removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bio": null, "attributes": {"plan": "free", "trial": null}}))]
pub(crate) struct ProfilePatch {
    /// Not all of it blank.
    #[schema(required = false, nullable = false, min_length = 1, max_length = 200, pattern = r"\S")]
    name: String,
    /// In ASCII. No two profiles of a tenant share one, whatever its case.
    #[schema(required = false, nullable = false, format = "email", max_length = 254)]
    email: String,
    #[schema(max_length = 4000)]
    bio: Option<String>,
    attributes: Option<Attributes>,
    source: Option<Value>,
    id: Option<Value>,
    images: Option<Value>,
    version: Option<Value>,
    created_at: Option<Value>,
    updated_at: Option<Value>,
    explain: Option<Value>,
}

/// Free fields, by name: at most 256, in at most 64 KiB of JSON, each nested at most 32 deep. `name`, `email` and `bio` can't be
/// among them.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"plan": "pro", "address": {"city": "London"}}))]
pub(crate) struct Attributes(BTreeMap<String, Value>);

/// A profile. One that is known only from streams may lack `name` and `email`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "name": "Ada Lovelace", "email": "ada@example.com",
    "bio": "Wrote the first program.", "attributes": {"plan": "pro"}, "images": [], "version": 3,
    "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-02-01T08:30:00.25Z"
}))]
pub(crate) struct Profile {
    id: Uuid,
    #[schema(required = false, nullable = false)]
    name: String,
    #[schema(required = false, nullable = false)]
    email: String,
    #[schema(required = false, nullable = false)]
    bio: String,
    attributes: Attributes,
    images: Vec<Value>,
    /// Rises by one on every real change.
    #[schema(minimum = 1)]
    version: i64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A profile as a single read gives it.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "source": "database", "id": "0199f3c2-6f0e-7cc3-98a2-4f3b1c0d9e8f", "name": "Ada Lovelace", "email": "ada@example.com",
    "bio": "Wrote the first program.", "attributes": {"plan": "pro"}, "images": [], "version": 3,
    "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-02-01T08:30:00.25Z"
}))]
pub(crate) struct ReadProfile {
    source: Source,
    id: Uuid,
    #[schema(required = false, nullable = false)]
    name: String,
    #[schema(required = false, nullable = false)]
    email: String,
    #[schema(required = false, nullable = false)]
    bio: String,
    attributes: Attributes,
    images: Vec<Value>,
    /// Rises by one on every real change.
    #[schema(minimum = 1)]
    version: i64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// With `explain=true`: by path, why each field has its value.
    #[schema(required = false, nullable = false)]
    explain: BTreeMap<String, ExplainedField>,
}

/// Where the values were found.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Cache,
    Database,
}

/// Why a field has its value.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ExplainedField {
    rule: ExplainedRule,
    winner: Fact,
    /// The facts that lost.
    superseded: Vec<Fact>,
}

/// The rule by which the winner was chosen.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ExplainedRule {
    #[schema(example = "newest")]
    name: String,
    /// For `priority`: the sources, the best first.
    #[schema(required = false, nullable = false)]
    sources: Vec<String>,
}

/// A value as one source reported it.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Fact {
    #[schema(example = "api")]
    source: String,
    /// When it was true.
    #[schema(format = DateTime)]
    reference_date: String,
    value: Value,
}

/// One page of a list.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Page {
    items: Vec<Profile>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A failure (RFC 9457).
#[derive(Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem, relative to this service.
    #[schema(format = "uri-reference")]
    r#type: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What to do about it.
    detail: String,
    error: ProblemError,
}

/// The same for programs.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProblemError {
    /// Stable.
    code: String,
    message: String,
    /// Each member that is at fault.
    #[schema(required = false, nullable = false)]
    fields: Vec<ProblemField>,
    /// Seconds after which the same request may fare better.
    #[schema(required = false, nullable = false)]
    retry_after: u32,
    /// The sections whose sources answered.
    #[schema(required = false, nullable = false)]
    available_services: Vec<String>,
}

/// What is wrong with one member.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProblemField {
    /// Its path; empty for the body itself.
    #[schema(example = "attributes.plan")]
    field: String,
    /// Stable.
    code: String,
    message: String,
}

/// How the service is.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "status": "ok", "phase": "serving", "checks": {"store": {"status": "ok", "kind": "sqlite"}, "caches": {"memory": "used"}},
    "version": "0.1.0"
}))]
pub(crate) struct Health {
    status: Status,
    phase: Phase,
    checks: Checks,
    version: String,
}

/// `degraded`: it answers, but is starting or stopping. `down`: the store doesn't answer.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Degraded,
    Down,
}

/// Where the process is between its start and its end.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Starting,
    Serving,
    Draining,
}

/// What the service needs.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Checks {
    store: StoreCheck,
    /// By tier, `memory` and `redis`; those that are switched off are not here.
    caches: BTreeMap<String, CacheCheck>,
    /// Not here where no queue is configured.
    queue: Option<QueueCheck>,
}

/// How the queue is. Without it tasks start up to a second later, and nothing else.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QueueCheck {
    Connected,
    /// It has no memory or disk space left, and takes nothing.
    Blocked,
    /// It can't be reached, or doesn't answer.
    Away,
}

/// Whether a cache is used: if not, it costs speed and nothing else.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CacheCheck {
    Used,
    /// It fails, is slow, or hasn't followed the changes of the last 1.5 seconds.
    NotUsed,
}

/// Whether the store answers.
#[derive(Deserialize, ToSchema)]
pub(crate) struct StoreCheck {
    status: Status,
    /// `sqlite` or `postgres`.
    kind: String,
    /// Of PostgreSQL: whether it is known which server takes the writes.
    primary: Option<PrimaryCheck>,
    /// Of PostgreSQL.
    replicas: Option<ReplicasCheck>,
}

/// Whether it is known which server takes the writes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrimaryCheck {
    Known,
    Unknown,
}

/// How many replicas there are.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ReplicasCheck {
    /// Reads go to them.
    used: u32,
    /// They are away, too far behind, or follow another server: that costs speed and nothing else.
    not_used: u32,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ProfilePath {
    /// The profile's id.
    id: Uuid,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainParameter {
    /// Adds, for each field, the rule, the fact that won and those that lost. Such an answer has no `ETag`.
    #[param(required = false, nullable = false)]
    explain: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Profiles on one page.
    #[param(required = false, nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// The `next_cursor` of the page before, with the same filters and order.
    #[param(required = false, nullable = false, max_length = 4096, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
    /// Profiles with this e-mail address, whatever its case.
    #[param(required = false, nullable = false, format = "email", max_length = 254)]
    email: String,
    /// Profiles whose name begins like this, whatever its case. In the order of names; not together with `email` or `attr.…`.
    #[param(required = false, nullable = false, max_length = 200)]
    name: String,
    /// The order. By name, there can be no `email` or `attr.…`.
    #[param(required = false, nullable = false, inline)]
    sort: SortParameter,
}

/// The order of a list.
#[derive(Deserialize, ToSchema)]
pub(crate) enum SortParameter {
    #[serde(rename = "created_at")]
    Created,
    #[serde(rename = "-created_at")]
    CreatedDescending,
    #[serde(rename = "name")]
    Name,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// Go on only if the profile has one of these tags (`*`: if there is a profile). The weak form is taken for the strong one.
    #[serde(rename = "If-Match")]
    #[param(required = false, nullable = false, example = "\"1-3\"", pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#)]
    if_match: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct ConsistencyToken {
    /// As a write returned it: the answer shows that write, whichever instance gives it. Without one, an answer may be up to 2
    /// seconds old.
    #[serde(rename = "X-Consistency-Token")]
    #[param(required = false, nullable = false)]
    consistency_token: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatch {
    /// Answer 304 if the profile still has one of these tags.
    #[serde(rename = "If-None-Match")]
    #[param(required = false, nullable = false, example = "\"1-3\"", pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#)]
    if_none_match: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatchAny {
    /// Only `*`: answer 412 if there is a profile. Such a request changes nothing.
    #[serde(rename = "If-None-Match")]
    #[param(required = false, nullable = false, pattern = r"^\*$")]
    if_none_match: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// Made by the client for one request. Sent again with the same body it gives the same answer; kept for 24 hours.
    #[serde(rename = "Idempotency-Key")]
    #[param(required = false, nullable = false, min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Tenant {
    /// The tenant whose profiles and tasks are meant.
    #[serde(rename = "X-Tenant-ID")]
    #[param(required = false, nullable = false, default = "default", min_length = 1, max_length = 63, pattern = "^[a-z0-9-]+$")]
    tenant: String,
}
