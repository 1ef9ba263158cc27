//! `GET /api/v1/profiles`.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use profile_application::{App, ListRequest, MAX_LIMIT, Page, Sort};
use profile_domain::{profile::MAX_NAME_CHARS, search::MAX_VALUE_BYTES};

use crate::{
    caller::Caller,
    problem::Problem,
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

const DEFAULT_LIMIT: usize = 50;

#[utoipa::path(
    get, path = "/api/v1/profiles", tag = "profiles", operation_id = "listProfiles", summary = "List profiles",
    description = "In pages: repeat with `cursor` set to the `next_cursor` of the page before, until it is null.\n\n\
        `attr.<field>=<value>` (also `attr.<field>.<member>=<value>`) finds by attribute; up to 4 filters hold together.",
    params(schema::ListParameters, schema::ConsistencyToken),
    responses((status = 200, description = "One page", body = schema::Page))
)]
pub(crate) async fn list(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted(Parameters::of(&request)?)?;
    let deadline = settings.deadline();
    let freshness = super::freshness(&request, &app, &caller.tenant, None, deadline).await?;
    let page = app.list_profiles(&caller.tenant, &wanted, freshness, deadline).await?;
    Ok(HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store")).body(json(&page)))
}

fn wanted(mut parameters: Parameters) -> Result<ListRequest, Problem> {
    let request = ListRequest {
        limit: parameters.take("limit")?.map_or(Ok(DEFAULT_LIMIT), |text| limit(&text))?,
        cursor: parameters.take("cursor")?,
        email: parameters.take("email")?,
        name: parameters.take("name")?,
        attributes: parameters.take_prefixed("attr.")?,
        sort: parameters.take("sort")?.map(|text| sort(&text)).transpose()?,
    };
    parameters.end()?;
    if request.name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME_CHARS) {
        return Err(invalid("name", format!("may have at most {MAX_NAME_CHARS} characters")));
    }
    if request.attributes.iter().any(|(_, value)| value.len() > MAX_VALUE_BYTES) {
        return Err(invalid("attr", format!("may compare with at most {MAX_VALUE_BYTES} bytes; longer values aren't found")));
    }
    Ok(request)
}

fn limit(text: &str) -> Result<usize, Problem> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(limit) if plain => Ok(limit),
        _ => Err(invalid("limit", format!("must be a number from 1 to {MAX_LIMIT}"))),
    }
}

fn sort(text: &str) -> Result<Sort, Problem> {
    match text {
        "created_at" => Ok(Sort::Created),
        "-created_at" => Ok(Sort::CreatedDescending),
        "name" => Ok(Sort::Name),
        _ => Err(invalid("sort", "must be created_at, -created_at or name")),
    }
}

/// Profiles come as bytes, and leave as the same bytes.
fn json(page: &Page) -> Vec<u8> {
    let mut json = Vec::with_capacity(page.items.len() + 256);
    json.extend_from_slice(br#"{"items":["#);
    json.extend_from_slice(&page.items);
    json.extend_from_slice(br#"],"next_cursor":"#);
    match &page.next_cursor {
        // base64url needs no escapes.
        Some(cursor) => json.extend([b"\"", cursor.as_bytes(), b"\""].concat()),
        None => json.extend_from_slice(b"null"),
    }
    json.push(b'}');
    json
}
