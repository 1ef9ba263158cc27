//! `GET /api/v1/profiles/{id}`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web::Data,
};
use bytes::Bytes;
use profile_application::{App, Forwarded, Origin};
use profile_domain::Rejection;

use crate::{
    caller::Caller,
    conditional,
    problem::Problem,
    query::{self, Parameters},
    schema,
    settings::Settings,
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[utoipa::path(
    get, path = "/api/v1/profiles/{id}", tag = "profiles", operation_id = "readProfile", summary = "Read a profile",
    params(schema::ProfilePath, schema::ExplainParameter, schema::IfMatch, schema::IfNoneMatch, schema::ConsistencyToken),
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
        // Whatever the token says, this shows more; one that is malformed is refused all the same.
        let (id, deadline) = (super::id(&request)?, settings.deadline());
        super::freshness(&request, &app, &caller.tenant, Some(id), deadline).await?;
        let body = app.explain_profile(&caller.tenant, id, deadline).await?;
        let mut answer = HttpResponse::Ok();
        answer.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
        return Ok(answer.body(with_source(b"database", &body.json)));
    }
    let (wanted, known) = (conditional::if_match(&request)?, conditional::if_none_match(&request)?);
    let (id, deadline) = (super::id(&request)?, settings.deadline());
    let freshness = super::freshness(&request, &app, &caller.tenant, Some(id), deadline).await?;
    let (body, origin) = app.read_profile(&caller.tenant, id, freshness, deadline).await?;
    if wanted.is_some_and(|wanted| !wanted.contain(body.version)) {
        return Err(Rejection::VersionConflict { actual: body.version }.into());
    }
    if known.is_some_and(|known| known.contain(body.version)) {
        return Ok(super::answer(StatusCode::NOT_MODIFIED, &body).insert_header(cache_status(origin)).finish());
    }
    let source: &[u8] = match origin {
        Origin::Cache { .. } | Origin::Stale { .. } => b"cache",
        Origin::Store(_) => b"database",
    };
    Ok(super::answer(StatusCode::OK, &body).insert_header(cache_status(origin)).body(with_source(source, &body.json)))
}

/// `Cache-Status` (RFC 9211): what was done to answer. `detail` names the tier, or why an entry was served after its time.
fn cache_status(origin: Origin) -> (HeaderName, HeaderValue) {
    let status = match origin {
        Origin::Cache { tier, expires_in } => format!("profile-service; hit; ttl={}; detail={tier}", expires_in.as_secs()),
        Origin::Stale { age, .. } => format!("profile-service; hit; ttl=-{}; detail=STALE_IF_ERROR", age.as_secs().max(1)),
        Origin::Store(Forwarded::Bypass) => return (CACHE_STATUS, HeaderValue::from_static("profile-service; fwd=bypass")),
        Origin::Store(Forwarded::Miss) => return (CACHE_STATUS, HeaderValue::from_static("profile-service; fwd=miss")),
        Origin::Store(Forwarded::Request) => return (CACHE_STATUS, HeaderValue::from_static("profile-service; fwd=request")),
    };
    // Numbers and names of tiers: always valid.
    (CACHE_STATUS, HeaderValue::try_from(status).unwrap_or_else(|_| HeaderValue::from_static("profile-service; hit")))
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
fn with_source(source: &[u8], json: &[u8]) -> Bytes {
    [br#"{"source":""#, source, b"\",", json.get(1..).unwrap_or_default()].concat().into()
}
