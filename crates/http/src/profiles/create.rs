//! `POST /api/v1/profiles`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Data,
};
use profile_application::App;
use profile_domain::profile::{ReadOnlyMembers, parse_document};

use crate::{body::JsonBody, caller::Caller, once, problem::Problem, query, routes, schema, settings::Settings};

#[utoipa::path(
    post, path = "/api/v1/profiles", tag = "profiles", operation_id = "createProfile", summary = "Create a profile",
    description = "Gives it a new id. With an `Idempotency-Key` it happens once, however often it is sent.",
    params(schema::IdempotencyKey),
    request_body(content = schema::NewProfile),
    responses((status = 201, description = "Created", body = schema::Profile))
)]
pub(crate) async fn create(
    request: HttpRequest,
    caller: Caller,
    JsonBody(body): JsonBody,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let once = once::key(&request)?;
    let document = parse_document(&body, ReadOnlyMembers::Refused)?;
    let created = app.create_profile(&caller.tenant, document, once, settings.deadline()).await?;
    let location = format!("{}/{}", routes::PROFILES, created.reference);
    let mut answer = super::answer(StatusCode::CREATED, &created.body);
    super::give(&mut answer, created.token);
    Ok(answer.insert_header((header::LOCATION, location)).body(created.body.json))
}
