//! `POST /api/v1/tasks/{id}/retry`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::App;

use crate::{caller::Caller, once, problem::Problem, query, schema, settings::Settings};

#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/retry", tag = "tasks", operation_id = "retryTask", summary = "Try a dead task again",
    description = "It is due at once, with as many attempts as it had at first. Sent again it is refused, since it isn't dead any \
        more; so it takes no `Idempotency-Key`.",
    params(schema::TaskPath),
    responses((status = 202, description = "It will start again", body = schema::Task))
)]
pub(crate) async fn retry(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    once::refuse(&request, "a retry takes no Idempotency-Key: a task that isn't dead any more is not retried again")?;
    let task = app.retry_task(&caller.tenant, super::id(&request)?, settings.deadline()).await?;
    Ok(super::answer(StatusCode::ACCEPTED).body(super::body(&task).to_string()))
}
