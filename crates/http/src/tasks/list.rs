//! `GET /api/v1/tasks`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::{App, MAX_LIMIT, TaskListRequest};
use profile_domain::{ProfileId, TaskStatus, TaskType, task::TaskQuery};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    problem::Problem,
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

const DEFAULT_LIMIT: usize = 50;

#[utoipa::path(
    get, path = "/api/v1/tasks", tag = "tasks", operation_id = "listTasks", summary = "List tasks",
    description = "The newest first, in pages: repeat with `cursor` set to the `next_cursor` of the page before, until it is null.",
    params(schema::TaskListParameters),
    responses((status = 200, description = "One page", body = schema::TaskPage))
)]
pub(crate) async fn list(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted(Parameters::of(&request)?)?;
    let page = app.list_tasks(&caller.tenant, &wanted, settings.deadline()).await?;
    let items: Vec<Value> = page.items.iter().map(super::body).collect();
    let body = json!({"items": items, "next_cursor": page.next_cursor});
    Ok(super::answer(StatusCode::OK).body(body.to_string()))
}

fn wanted(mut parameters: Parameters) -> Result<TaskListRequest, Problem> {
    let taken = &mut parameters;
    let limit = take(taken, "limit", limit, "must be a number from 1 to 200")?;
    let time = "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z";
    let query = TaskQuery {
        status: take(taken, "status", TaskStatus::parse, "must be a status of a task, such as dead")?,
        task_type: take(taken, "type", |text| TaskType::parse(text).ok(), "must be a type of task, such as echo")?,
        profile: take(taken, "profile_id", |text| text.parse::<ProfileId>().ok(), "must be a UUID")?.map(ProfileId::reference),
        created_from: take(taken, "created_from", |text| text.parse().ok(), time)?,
        created_before: take(taken, "created_before", |text| text.parse().ok(), time)?,
        after: None,
        limit: limit.unwrap_or(DEFAULT_LIMIT),
    };
    let cursor = parameters.take("cursor")?;
    parameters.end()?;
    Ok(TaskListRequest { query, cursor })
}

fn take<T>(
    parameters: &mut Parameters,
    name: &'static str,
    parse: fn(&str) -> Option<T>,
    allowed: &str,
) -> Result<Option<T>, Problem> {
    let text = parameters.take(name)?;
    text.map(|text| parse(&text).ok_or_else(|| invalid(name, allowed))).transpose()
}

fn limit(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|limit| plain && (1..=MAX_LIMIT).contains(limit))
}
