//! For operators: `DELETE /cache/views/{view}` and `DELETE /cache/views/{view}/{id}`, for the caller's tenant.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, ServiceConfig},
};
use profile_application::{App, CacheError, StoreError};
use profile_domain::views::ViewName;

use crate::{caller::Caller, problem::Problem, query, routes::resource};

/// Their routes.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config.service(resource("/cache/views/{view}", "DELETE, OPTIONS", [web::delete().to(forget)])).service(resource(
        "/cache/views/{view}/{id}",
        "DELETE, OPTIONS",
        [web::delete().to(forget)],
    ));
}

/// Drops what is kept of a view, or of one id in it: in this process, and in Redis for all.
async fn forget(request: HttpRequest, caller: Caller, app: Data<App>) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let view = ViewName::parse(request.match_info().query("view")).ok_or_else(Problem::route_not_found)?;
    let id = match request.match_info().get("id") {
        Some(_) => Some(canonical(view, &decoded(&request)?)),
        None => None,
    };
    app.forget_view(&caller.tenant, view, id.as_deref()).await.map_err(unavailable)?;
    if id.is_none() {
        tracing::warn!(view = view.as_str(), "an operator had what is kept of a view dropped");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The id with what is written as `%2F` and the like, which the path keeps as it is.
fn decoded(request: &HttpRequest) -> Result<String, Problem> {
    let (_, id): (String, String) = request.match_info().load().map_err(|_| Problem::route_not_found())?;
    Ok(id)
}

/// As answers are kept under it.
fn canonical(view: ViewName, id: &str) -> String {
    match (view, id.parse::<profile_domain::ProfileId>()) {
        (ViewName::Profile, Ok(id)) => id.to_string(),
        _ => id.to_owned(),
    }
}

fn unavailable(error: CacheError) -> Problem {
    StoreError::Unavailable(error.into()).into()
}
