//! `PUT /api/v1/profiles/{id}`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use profile_application::App;
use profile_domain::profile::{ReadOnlyMembers, parse_document};

use crate::{body::JsonBody, caller::Caller, problem::Problem, query, schema, settings::Settings};

#[utoipa::path(
    put, path = "/api/v1/profiles/{id}", tag = "profiles", operation_id = "replaceProfile", summary = "Replace a profile",
    description = "Fields that the body lacks are removed. What GET gave can be sent back: its read-only members are ignored. \
        Equal content changes nothing, not even the version.",
    params(schema::ProfilePath, schema::IfMatch, schema::IfNoneMatchAny),
    request_body(content = schema::ReplaceProfile),
    responses((status = 200, description = "As it is now", body = schema::Profile))
)]
pub(crate) async fn replace(
    request: HttpRequest,
    caller: Caller,
    JsonBody(body): JsonBody,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let document = parse_document(&body, ReadOnlyMembers::Ignored)?;
    let (id, deadline) = (super::id(&request)?, settings.deadline());
    let expect = super::expect(&request, &app, &caller.tenant, id, deadline).await?;
    let written = app.replace_profile(&caller.tenant, id, document, expect, deadline).await?;
    let mut answer = super::answer(StatusCode::OK, &written.body);
    super::give(&mut answer, written.token);
    Ok(answer.body(written.body.json))
}
