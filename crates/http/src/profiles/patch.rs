//! `PATCH /api/v1/profiles/{id}`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::App;
use profile_domain::profile::parse_patch;

use crate::{body::JsonBody, caller::Caller, problem::Problem, query, schema, settings::Settings};

#[utoipa::path(
    patch, path = "/api/v1/profiles/{id}", tag = "profiles", operation_id = "patchProfile", summary = "Change a profile",
    description = "By JSON Merge Patch (RFC 7396): a member replaces, `null` removes, what is not named stays.",
    params(schema::ProfilePath, schema::IfMatch, schema::IfNoneMatchAny),
    request_body(content(
        (schema::ProfilePatch = "application/merge-patch+json"),
        (schema::ProfilePatch = "application/json"),
    )),
    responses((status = 200, description = "As it is now", body = schema::Profile))
)]
pub(crate) async fn patch(
    request: HttpRequest,
    caller: Caller,
    JsonBody(body): JsonBody,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let patch = parse_patch(&body)?;
    let (id, deadline) = (super::id(&request)?, settings.deadline());
    let expect = super::expect(&request, &app, &caller.tenant, id, deadline).await?;
    let written = app.patch_profile(&caller.tenant, id, patch, expect, deadline).await?;
    let mut answer = super::answer(StatusCode::OK, &written.body);
    super::give(&mut answer, written.token);
    Ok(answer.body(written.body.json))
}
