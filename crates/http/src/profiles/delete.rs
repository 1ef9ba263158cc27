//! `DELETE /api/v1/profiles/{id}`.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use profile_application::App;

use crate::{caller::Caller, problem::Problem, query, schema, settings::Settings};

#[utoipa::path(
    delete, path = "/api/v1/profiles/{id}", tag = "profiles", operation_id = "deleteProfile", summary = "Delete a profile",
    params(schema::ProfilePath, schema::IfMatch, schema::IfNoneMatchAny),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let (id, deadline) = (super::id(&request)?, settings.deadline());
    let expect = super::expect(&request, &app, &caller.tenant, id, deadline).await?;
    let token = app.delete_profile(&caller.tenant, id, expect, deadline).await?;
    let mut answer = HttpResponse::NoContent();
    super::give(&mut answer, token);
    Ok(answer.finish())
}
