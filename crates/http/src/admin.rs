//! What operators do, on a listener of its own: `DELETE /cache`, `DELETE /cache/{id}`, `PUT /log-level`. Whoever can connect may;
//! so it listens on loopback unless configured otherwise.

use std::{net::TcpListener, sync::Arc};

use actix_web::{
    App, Error, HttpRequest, HttpResponse,
    body::BoxBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web::{self, Data},
};
use serde_json::{Value, json};

use crate::{
    body::JsonBody,
    caller::Caller,
    observe,
    problem::{Code, Problem},
    profiles, query,
    routes::resource,
    server::Service,
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

/// The application that serves them.
pub(crate) fn app(
    service: &Service,
    set_log_level: SetLogLevel,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>,
> {
    let metrics = Arc::clone(&service.metrics);
    let new_id = service.settings.new_id;
    App::new()
        .app_data(Data::new(service.app.clone()))
        .app_data(Data::from(Arc::clone(&service.settings)))
        .app_data(Data::new(set_log_level))
        .service(resource("/cache", "DELETE, OPTIONS", [web::delete().to(clear)]))
        .service(resource("/cache/{id}", "DELETE, OPTIONS", [web::delete().to(forget)]))
        .service(resource("/log-level", "OPTIONS, PUT", [web::put().to(log_level)]))
        .default_service(web::to(async || Err::<HttpResponse, _>(Problem::route_not_found())))
        .wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
            observe::observe(Arc::clone(&metrics), new_id, request, next)
        }))
}

/// Drops all that caches keep: in this process, and in Redis for all. Other processes keep what is in theirs.
async fn clear(request: HttpRequest, app: Data<profile_application::App>) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    app.clear_caches().await.map_err(unavailable)?;
    tracing::warn!("an operator had the caches cleared");
    Ok(HttpResponse::NoContent().finish())
}

/// The same for one profile of the caller's tenant, whether there is one or not.
async fn forget(request: HttpRequest, caller: Caller, app: Data<profile_application::App>) -> Result<HttpResponse, Problem> {
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

fn unavailable(error: profile_application::CacheError) -> Problem {
    profile_application::StoreError::Unavailable(error.into()).into()
}
