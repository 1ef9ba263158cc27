//! `DELETE /api/v1/tasks/{id}`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::App;
use profile_domain::TaskStatus;

use crate::{caller::Caller, problem::Problem, query, schema, settings::Settings};

#[utoipa::path(
    delete, path = "/api/v1/tasks/{id}", tag = "tasks", operation_id = "cancelTask", summary = "Cancel a task",
    params(schema::TaskPath),
    responses(
        (status = 200, description = "It is cancelled", body = schema::Task),
        (status = 202, description = "It runs, and is told to end; it is cancelled then, unless it succeeds before", body = schema::Task)
    )
)]
pub(crate) async fn cancel(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let task = app.cancel_task(&caller.tenant, super::id(&request)?, settings.deadline()).await?;
    let status = if task.status == TaskStatus::Running { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(super::answer(status).body(super::body(&task).to_string()))
}
