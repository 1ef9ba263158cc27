//! `echo`: does nothing, or fails as it is told to. For tests, demos, and whoever wants to see a task go by.

use std::time::Duration;

use futures_util::future::BoxFuture;
use profile_domain::profile::FieldProblem;
use serde_json::{Value, json};

use crate::tasks::kind::{Effect, Failure, Job, Kind, Payload, problem};

/// How long an echo may take its time, in seconds.
const LONGEST: f64 = 600.0;

pub(super) const KIND: Kind = Kind {
    name: "echo",
    does: "Does nothing but take its time, or fail, as it is told to.",
    schema,
    example: || json!({"message": "hello"}),
    needs_profile: false,
    check,
    run,
    timeout: Duration::from_secs(660),
    rate: None,
};

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "message": {"type": ["string", "number", "boolean", "object", "array", "null"], "description": "Anything."},
            "sleep": {"type": "number", "minimum": 0, "maximum": 600, "description": "Seconds that it takes."},
            "fail": {"type": "boolean", "description": "Whether it fails each time."},
            "panic": {"type": "boolean", "description": "Whether it fails in a way that nobody foresaw."}
        }
    })
}

fn check(payload: &Payload<'_>) -> Vec<FieldProblem> {
    let mut problems = payload.only(&["message", "sleep", "fail", "panic"]);
    let wrong = |member: &str, right: fn(&Value) -> bool| payload.0.get(member).is_some_and(|value| !right(value));
    if wrong("sleep", |value| value.as_f64().is_some_and(|seconds| (0.0..=LONGEST).contains(&seconds))) {
        problems.push(problem("sleep", "OUT_OF_RANGE", "must be a number of seconds from 0 to 600"));
    }
    for member in ["fail", "panic"] {
        if wrong(member, Value::is_boolean) {
            problems.push(problem(member, "INVALID_TYPE", "must be true or false"));
        }
    }
    problems
}

fn run(job: Job) -> BoxFuture<'static, Result<Effect, Failure>> {
    Box::pin(async move {
        if let Some(seconds) = job.payload["sleep"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))).await;
        }
        assert!(job.payload["panic"] != true, "an echo was told to panic");
        if job.payload["fail"] == true { Err(Failure::for_now("it was told to fail")) } else { Ok(Effect::None) }
    })
}
