//! The description of all this for machines, made from the code.

use actix_web::{HttpResponse, http::header};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi()]
struct Document;

/// The OpenAPI 3.1 description of every route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(openapi())
}
