//! `webhook`: tells someone else's server, signed as Standard Webhooks has it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use profile_domain::{json::canonical, profile::FieldProblem};
use profile_ports::{
    Deadline, causes,
    webhooks::{Call, WebhookError},
};
use serde_json::{Value, json};

use crate::tasks::kind::{Effect, Failure, Job, Kind, Payload, problem};

/// Bytes of an address.
const MAX_URL: usize = 2_048;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(15);

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    does: "POSTs `body` to `url`, signed as Standard Webhooks has it with the secret of the tenant; the task's id is the \
        message's. Redirects are not followed, and addresses that not everyone can reach are refused.",
    schema,
    example: || json!({"url": "https://example.com/hook", "body": {"type": "trial.ended"}}),
    needs_profile: false,
    check,
    run,
    timeout: Duration::from_secs(30),
    rate: None,
};

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["url", "body"],
        "properties": {
            "url": {"type": "string", "format": "uri", "maxLength": MAX_URL, "pattern": "^https?://"},
            "body": {"type": "object"}
        }
    })
}

fn check(payload: &Payload<'_>) -> Vec<FieldProblem> {
    let mut problems = payload.only(&["url", "body"]);
    let http = |url: &str| url.len() <= MAX_URL && (url.starts_with("https://") || url.starts_with("http://"));
    if !payload.0.get("url").and_then(Value::as_str).is_some_and(http) {
        problems.push(problem("url", "INVALID_VALUE", "must be an http or https URL of at most 2048 bytes"));
    }
    if !payload.0.get("body").is_some_and(Value::is_object) {
        problems.push(problem("body", "INVALID_TYPE", "must be an object"));
    }
    problems
}

fn run(job: Job) -> BoxFuture<'static, Result<Effect, Failure>> {
    Box::pin(async move {
        let webhooks = job.app.work.webhooks.clone().ok_or_else(|| Failure::for_good("no webhooks are sent from here"))?;
        let call = Call {
            tenant: &job.tenant,
            id: &job.run.task.to_string(),
            url: job.payload["url"].as_str().unwrap_or_default(),
            at: (job.app.environment.now)(),
            body: canonical(&job.payload["body"]).into(),
        };
        match webhooks.send(&call, Deadline::within(CALL)).await {
            Ok(()) => Ok(Effect::None),
            Err(error) => {
                tracing::info!(task.id = %job.run.task, cause = causes(&error), "a webhook didn't get through");
                Err(failure(&error))
            }
        }
    })
}

/// What the tenant may know. Which names lead to which addresses in our networks is none of that, so that a name which may not be
/// called, one that is unknown and one that doesn't answer look alike, also in that each is tried again.
fn failure(error: &WebhookError) -> Failure {
    match error {
        WebhookError::Forbidden(_) | WebhookError::Unreachable(_) => Failure::for_now("the address can't be reached"),
        error if error.may_pass() => Failure::for_now(causes(error)),
        error => Failure::for_good(causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use profile_domain::task::Again;
    use profile_ports::webhooks::WebhookError;

    use super::failure;

    #[test]
    fn forbidden_and_unknown_names_look_alike() {
        let [forbidden, unknown] = [WebhookError::Forbidden("a".into()), WebhookError::Unreachable("b".into())];
        let [forbidden, unknown] = [failure(&forbidden), failure(&unknown)];
        assert_eq!((forbidden.error, forbidden.again), (unknown.error, unknown.again));
        assert_eq!(failure(&WebhookError::NoSecret).again, Again::Never);
        assert_eq!(failure(&WebhookError::Status(410)).again, Again::Never);
        assert_eq!(failure(&WebhookError::Status(500)).again, Again::Maybe);
    }
}
