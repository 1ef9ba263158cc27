//! What operators do, on a listener of its own: `DELETE /cache`, `DELETE /cache/{id}`, `DELETE /cache/views/…`,
//! `PUT /log-level`. Whoever can connect may; so it listens on loopback unless configured otherwise.

use std::net::TcpListener;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, ServiceConfig},
};
use profile_application::{App, CacheError, StoreError};
use serde_json::{Value, json};

use crate::{
    body::JsonBody,
    caller::Caller,
    problem::{Code, Problem},
    profiles, query,
    routes::resource,
    views,
};

/// The levels that there are, from few lines to many.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Sets what is logged from now on, to one of `error`, `warn`, `info`, `debug` and `trace`.
pub type SetLogLevel = fn(&str) -> Result<(), String>;

/// The listener of operators, and what they may set beside caches.
pub struct Admin {
    /// Where they connect.
    pub listener: TcpListener,
    /// Sets the log level.
    pub set_log_level: SetLogLevel,
}

/// Their routes.
pub(crate) fn configure(config: &mut ServiceConfig, set_log_level: SetLogLevel) {
    config
        .app_data(Data::new(set_log_level))
        .service(resource("/cache", "DELETE, OPTIONS", [web::delete().to(clear)]))
        .configure(views::forget::configure)
        .service(resource("/cache/{id}", "DELETE, OPTIONS", [web::delete().to(forget)]))
        .service(resource("/log-level", "OPTIONS, PUT", [web::put().to(log_level)]))
        .default_service(web::to(async || Err::<HttpResponse, _>(Problem::route_not_found())));
}

/// Drops all that caches keep: in this process, and in Redis for all. Other processes keep what is in theirs.
async fn clear(request: HttpRequest, app: Data<App>) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    app.clear_caches().await.map_err(unavailable)?;
    tracing::warn!("an operator had the caches cleared");
    Ok(HttpResponse::NoContent().finish())
}

/// The same for one profile of the caller's tenant, whether there is one or not.
async fn forget(request: HttpRequest, caller: Caller, app: Data<App>) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    app.forget_profile(&caller.tenant, profiles::id(&request)?).await.map_err(unavailable)?;
    Ok(HttpResponse::NoContent().finish())
}

async fn log_level(
    request: HttpRequest,
    JsonBody(body): JsonBody,
    set_log_level: Data<SetLogLevel>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let level = match &body {
        Value::Object(members) if members.len() == 1 => members.get("level").and_then(Value::as_str),
        _ => None,
    };
    let Some(level) = level.filter(|level| LEVELS.contains(level)) else {
        let allowed = r#"the body must be {"level": …}, with error, warn, info, debug or trace"#;
        return Err(Problem::new(Code::ValidationFailed, allowed));
    };
    set_log_level(level).map_err(Problem::internal)?;
    tracing::warn!(level, "an operator set the log level");
    Ok(HttpResponse::Ok().json(json!({"level": level})))
}

fn unavailable(error: CacheError) -> Problem {
    StoreError::Unavailable(error.into()).into()
}
