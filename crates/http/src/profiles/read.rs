//! `GET /api/v1/profiles/{id}`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Data,
};
use bytes::Bytes;
use profile_application::App;
use profile_domain::Rejection;

use crate::{
    caller::Caller,
    conditional,
    problem::Problem,
    query::{self, Parameters},
    schema,
    settings::Settings,
};

#[utoipa::path(
    get, path = "/api/v1/profiles/{id}", tag = "profiles", operation_id = "readProfile", summary = "Read a profile",
    params(schema::ProfilePath, schema::ExplainParameter, schema::IfMatch, schema::IfNoneMatch),
    responses(
        (status = 200, description = "The profile", body = schema::ReadProfile),
        (status = 304, description = "It is as `If-None-Match` says"),
    )
)]
pub(crate) async fn read(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    if explain(&request)? {
        let body = app.explain_profile(&caller.tenant, super::id(&request)?, settings.deadline()).await?;
        let mut answer = HttpResponse::Ok();
        answer.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
        return Ok(answer.body(with_source(&body.json)));
    }
    let (wanted, known) = (conditional::if_match(&request)?, conditional::if_none_match(&request)?);
    let body = app.read_profile(&caller.tenant, super::id(&request)?, settings.deadline()).await?;
    if wanted.is_some_and(|wanted| !wanted.contain(body.version)) {
        return Err(Rejection::VersionConflict { actual: body.version }.into());
    }
    if known.is_some_and(|known| known.contain(body.version)) {
        return Ok(super::answer(StatusCode::NOT_MODIFIED, &body).finish());
    }
    Ok(super::answer(StatusCode::OK, &body).body(with_source(&body.json)))
}

fn explain(request: &HttpRequest) -> Result<bool, Problem> {
    let mut parameters = Parameters::of(request)?;
    let explain = parameters.take("explain")?;
    parameters.end()?;
    match explain.as_deref() {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(query::invalid("explain", "must be true or false")),
    }
}

/// Where the values came from is said in front of them, since it is no part of what the tag names.
fn with_source(json: &[u8]) -> Bytes {
    const SOURCE: &[u8] = br#"{"source":"database","#;
    [SOURCE, json.get(1..).unwrap_or_default()].concat().into()
}
