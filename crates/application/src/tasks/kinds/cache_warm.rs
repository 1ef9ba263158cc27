//! `cache.warm`: reads profiles, so that they are in the caches when they are asked for.

use std::time::Duration;

use futures_util::future::BoxFuture;
use profile_domain::{ProfileId, profile::FieldProblem};
use profile_ports::Deadline;
use serde_json::{Value, json};

use crate::{
    Freshness, ListRequest, MAX_LIMIT, ReadError,
    tasks::kind::{Effect, Failure, Job, Kind, Payload, problem},
};

/// Ids that one task may name.
const MAX_IDS: usize = 1_000;
/// How long one read may take.
const STEP: Duration = Duration::from_secs(5);

pub(super) const KIND: Kind = Kind {
    name: "cache.warm",
    does: "Reads profiles, by id or by an attribute, so that caches have them.",
    schema,
    example: || json!({"attribute": "plan", "value": "pro"}),
    needs_profile: false,
    check,
    run,
    timeout: Duration::from_mins(5),
    rate: None,
};

fn schema() -> Value {
    json!({
        "oneOf": [
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["ids"],
                "properties": {
                    "ids": {"type": "array", "maxItems": MAX_IDS, "items": {"type": "string", "format": "uuid"}}
                }
            },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["attribute", "value"],
                "properties": {
                    "attribute": {"type": "string", "minLength": 1, "maxLength": 128},
                    "value": {"type": "string", "maxLength": 256}
                }
            }
        ]
    })
}

fn check(payload: &Payload<'_>) -> Vec<FieldProblem> {
    let mut problems = payload.only(&["ids", "attribute", "value"]);
    let member = |name: &str| payload.0.get(name);
    match (member("ids"), member("attribute"), member("value")) {
        (Some(ids), None, None) => {
            let id = |id: &Value| id.as_str().is_some_and(|text| text.parse::<ProfileId>().is_ok());
            if !ids.as_array().is_some_and(|ids| ids.len() <= MAX_IDS && ids.iter().all(id)) {
                problems.push(problem("ids", "INVALID_VALUE", "must be an array of at most 1000 UUIDs"));
            }
        }
        (None, Some(attribute), Some(value)) => {
            for (name, value, most) in [("attribute", attribute, 128), ("value", value, 256)] {
                if value.as_str().is_none_or(|text| text.len() > most || (name == "attribute" && text.is_empty())) {
                    problems.push(problem(name, "INVALID_VALUE", &format!("must be a string of at most {most} bytes")));
                }
            }
        }
        _ => problems.push(problem("", "INVALID_VALUE", "must have ids, or an attribute and its value")),
    }
    problems
}

fn run(job: Job) -> BoxFuture<'static, Result<Effect, Failure>> {
    Box::pin(async move {
        if let Some(ids) = job.payload["ids"].as_array() {
            for id in ids {
                warm(&job, id).await?;
            }
            return Ok(Effect::None);
        }
        let text = |member: &str| job.payload[member].as_str().unwrap_or_default().to_owned();
        let mut request =
            ListRequest { limit: MAX_LIMIT, attributes: vec![(text("attribute"), text("value"))], ..ListRequest::default() };
        loop {
            let page = job.app.list_profiles(&job.tenant, &request, Deadline::within(STEP)).await;
            let page = page.map_err(|error| Failure::for_now(format!("profiles can't be listed: {error}")))?;
            let items: Vec<Value> = serde_json::from_slice(&[b"[", page.items.as_slice(), b"]"].concat())
                .map_err(|_| Failure::for_good("a page of profiles is no JSON"))?;
            for item in &items {
                warm(&job, &item["id"]).await?;
            }
            match page.next_cursor {
                Some(cursor) => request.cursor = Some(cursor),
                None => return Ok(Effect::None),
            }
        }
    })
}

async fn warm(job: &Job, id: &Value) -> Result<(), Failure> {
    let Some(Ok(id)) = id.as_str().map(str::parse) else { return Ok(()) };
    match job.app.read_profile(&job.tenant, id, Freshness::Recent, Deadline::within(STEP)).await {
        Ok(_) | Err(ReadError::NotFound) => Ok(()),
        Err(error) => Err(Failure::for_now(format!("a profile can't be read: {error}"))),
    }
}
