//! `/docs`: Swagger UI, from files that are part of the binary. It works without any other host, and is allowed none.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName},
};
use utoipa_swagger_ui::Config;

use crate::problem::Problem;

/// Swagger UI styles elements directly and draws icons from `data:`; scripts and calls go to this host alone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `/docs` → `/docs/`, because the page names its files relative to itself.
pub(crate) async fn index() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

/// One file of it.
pub(crate) async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let path = request.match_info().query("file");
    let config = Config::from("/openapi.json").validator_url("none").display_request_duration(true);
    let file = utoipa_swagger_ui::serve(path, Arc::new(config)).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or_else(Problem::route_not_found)?;
    Ok(HttpResponse::Ok()
        .content_type(file.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((HeaderName::from_static("referrer-policy"), "no-referrer"))
        .body(file.bytes.into_owned()))
}
