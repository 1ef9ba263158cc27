//! `profile.patch`: a merge patch of a profile, applied when its time has come, such as at the end of a trial.

use std::time::Duration;

use futures_util::future::BoxFuture;
use profile_domain::{
    EntityKey, EntityType, EntityWrite, Expect, Intent,
    profile::{DocumentError, FieldProblem, parse_patch},
};
use serde_json::{Value, json};

use crate::tasks::kind::{Effect, Failure, Job, Kind, Payload, problem};

pub(super) const KIND: Kind = Kind {
    name: "profile.patch",
    does: "Changes the profile that `profile_id` names by a JSON Merge Patch (RFC 7396), the payload's `patch`.",
    schema,
    example: || json!({"patch": {"attributes": {"plan": "free"}}}),
    needs_profile: true,
    check,
    run,
    timeout: Duration::from_secs(30),
    rate: None,
};

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["patch"],
        "properties": {"patch": {"$ref": "#/components/schemas/ProfilePatch"}}
    })
}

fn check(payload: &Payload<'_>) -> Vec<FieldProblem> {
    let mut problems = payload.only(&["patch"]);
    match payload.0.get("patch").map(parse_patch) {
        None => problems.push(problem("patch", "REQUIRED", "is required")),
        Some(Ok(_)) => {}
        Some(Err(DocumentError::NotAnObject)) => problems.push(problem("patch", "INVALID_TYPE", "must be an object")),
        Some(Err(DocumentError::UnknownMembers(members))) => problems.extend(members.iter().map(|member| {
            problem(&format!("patch.{member}"), "UNKNOWN_MEMBER", "is no member of a profile; free fields go into attributes")
        })),
        Some(Err(DocumentError::Invalid(found))) => {
            problems.extend(found.into_iter().map(|it| problem(&format!("patch.{}", it.field), it.code, &it.message)));
        }
    }
    problems
}

fn run(job: Job) -> BoxFuture<'static, Result<Effect, Failure>> {
    Box::pin(async move {
        let patch = parse_patch(&job.payload["patch"]).map_err(|_| Failure::for_good("the patch is no valid one any more"))?;
        let reference = job.profile.ok_or_else(|| Failure::for_good("it names no profile"))?;
        let key = EntityKey { entity_type: EntityType::profile(), reference };
        let intent = Intent::Patch { fields: patch.fields, clear_attributes: patch.clear_attributes };
        Ok(Effect::Write(vec![EntityWrite { key, intent, expect: Expect::Present, required: true }]))
    })
}
