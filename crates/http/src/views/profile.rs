//! `GET /profile/{id}` and `GET /profile?id=`: fields of many sources, merged.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use profile_application::{App, Question};
use profile_domain::{
    ProfileId,
    views::{Section, ViewName},
};

use crate::{
    caller::Caller,
    problem::{Code, Problem},
    profiles,
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

#[utoipa::path(
    get, path = "/profile/{id}", tag = "views", operation_id = "readLiveProfile", summary = "Read a profile from live sources",
    description = "Flat JSON with its keys sorted: each field as the source that is believed most about it says. A source that \
        fails counts as empty and is named in `X-Unavailable-Sources`.",
    params(schema::ProfilePath, schema::ExplainView, schema::ConsistencyToken),
    responses((status = 200, description = "The merged fields", body = Value))
)]
pub(crate) async fn by_path(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let parameters = Parameters::of(&request)?;
    let id = request.match_info().query("id").to_owned();
    read(&request, &caller, &app, &settings, &id, parameters).await
}

#[utoipa::path(
    get, path = "/profile", tag = "views", operation_id = "readLiveProfileByQuery", summary = "The same, by its id in the query",
    params(schema::IdParameter, schema::ExplainView, schema::ConsistencyToken),
    responses((status = 200, description = "The merged fields", body = Value))
)]
pub(crate) async fn by_query(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&request)?;
    let id = parameters.take("id")?.ok_or_else(|| invalid("id", "is missing"))?;
    read(&request, &caller, &app, &settings, &id, parameters).await
}

async fn read(
    request: &HttpRequest,
    caller: &Caller,
    app: &App,
    settings: &Settings,
    id: &str,
    mut parameters: Parameters,
) -> Result<HttpResponse, Problem> {
    let explain = explain(&mut parameters)?;
    parameters.end()?;
    let id: ProfileId = id.parse().map_err(|_| Problem::new(Code::InvalidId, "the id must be a UUID"))?;
    let deadline = settings.deadline();
    let question = Question {
        view: ViewName::Profile,
        sections: vec![Section::Fields],
        id: id.to_string(),
        period: None,
        traceparent: super::traceparent(request),
    };
    let freshness = profiles::freshness(request, app, &caller.tenant, Some(id), deadline).await?;
    let answer = if explain {
        app.explain_view(&caller.tenant, question, deadline).await
    } else {
        app.read_view(&caller.tenant, question, freshness, deadline).await
    };
    answer.map(super::answer).map_err(|error| super::problem(error, Code::NotFound, Code::SourcesUnavailable))
}

fn explain(parameters: &mut Parameters) -> Result<bool, Problem> {
    match parameters.take("explain")?.as_deref() {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(invalid("explain", "must be true or false")),
    }
}
