//! `POST /api/v1/tasks/delayed`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Data,
};
use profile_application::App;
use profile_domain::task::parse_submission;
use serde_json::json;

use crate::{body::JsonBody, caller::Caller, once, problem::Problem, query, routes, schema, settings::Settings};

#[utoipa::path(
    post, path = "/api/v1/tasks/delayed", tag = "tasks", operation_id = "submitTask", summary = "Have something done later",
    description = "Once it is accepted it is done, at least once, and what it changes here is changed once. It never starts \
        early.\n\nOf those of one type with one `unique_key`, one waits for its first start: another is answered with the one \
        that waits, which stays as it is or, with `on_conflict` `replace`, takes over payload and time.",
    params(schema::IdempotencyKey),
    request_body(content = schema::NewTask),
    responses((status = 202, description = "Accepted", body = schema::SubmittedTask))
)]
pub(crate) async fn submit(
    request: HttpRequest,
    caller: Caller,
    JsonBody(body): JsonBody,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let once = once::key(&request)?;
    let submission = parse_submission(&body).map_err(super::refused)?;
    let submitted = app.submit_task(&caller.tenant, submission, once, traceparent(&request), settings.deadline()).await?;
    let task = &submitted.task;
    let body = json!({
        "id": task.id.to_string(),
        "type": submitted.task_type,
        "status": task.status.as_str(),
        "run_at": task.run_at.to_string(),
        "created_at": task.created_at.to_string(),
    });
    let location = format!("{}/{}", routes::TASKS, task.id);
    Ok(super::answer(StatusCode::ACCEPTED).insert_header((header::LOCATION, location)).body(body.to_string()))
}

/// The trace that the request is part of (W3C Trace Context), if it says so as it should.
fn traceparent(request: &HttpRequest) -> Option<String> {
    let text = request.headers().get("traceparent")?.to_str().ok()?;
    let shape = text.len() == 55
        && text.bytes().enumerate().all(|(index, byte)| match index {
            2 | 35 | 52 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
    shape.then(|| text.to_owned())
}
