//! `GET /api/v1/tasks/{id}`.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::{App, Deadline};
use profile_domain::Moment;
use serde_json::json;

use crate::{
    caller::Caller,
    problem::Problem,
    query::{Parameters, invalid},
    routes, schema,
    settings::Settings,
};

/// Seconds that can be waited.
const MAX_WAIT: u64 = 30;

#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "readTask", summary = "See how a task goes",
    params(schema::TaskPath, schema::WaitParameter),
    responses((status = 200, description = "The task", body = schema::Task))
)]
pub(crate) async fn read(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&request)?;
    let wait = parameters.take("wait")?.map(|text| seconds(&text)).transpose()?;
    parameters.end()?;
    let id = super::id(&request)?;
    let task = match wait {
        None => app.read_task(&caller.tenant, id, settings.deadline()).await?,
        Some(wait) => app.wait_for_task(&caller.tenant, id, Deadline::within(wait), settings.request_timeout).await?,
    };
    let mut body = super::body(&task);
    if let Some(link) = app.export_link(&caller.tenant, &task, settings.deadline()).await? {
        let url = format!("{}/{}?expires={}&sig={}", routes::EXPORTS, task.id, link.expires, link.signature);
        let expires_at = Moment::from_micros(link.expires.saturating_mul(1_000_000));
        body["result"] = json!({"url": url, "expires_at": expires_at.to_string()});
    }
    Ok(super::answer(StatusCode::OK).body(body.to_string()))
}

fn seconds(text: &str) -> Result<Duration, Problem> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(seconds @ 0..=MAX_WAIT) if plain => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid("wait", format!("must be seconds from 0 to {MAX_WAIT}"))),
    }
}
