//! Every route, with the methods it takes.

use actix_web::{
    HttpResponse, Resource, Route,
    body::BoxBody,
    dev::{HttpServiceFactory, ServiceRequest},
    guard,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    middleware::{Next, from_fn},
    web::{self, ServiceConfig},
};

use crate::{
    docs, exports, observe, openapi, operations,
    problem::{Code, Problem},
    profiles, tasks, views,
};

/// The collection of profiles.
pub(crate) const PROFILES: &str = "/api/v1/profiles";
/// Many profiles in.
pub(crate) const IMPORT: &str = "/api/v1/profiles/import";
/// All profiles out.
pub(crate) const EXPORT: &str = "/api/v1/profiles/export";
/// One profile. What stands before it is no id.
pub(crate) const PROFILE: &str = "/api/v1/profiles/{id}";

/// The collection of tasks.
pub(crate) const TASKS: &str = "/api/v1/tasks";
/// Where they are submitted.
pub(crate) const SUBMIT: &str = "/api/v1/tasks/delayed";
/// One task. What stands before it is no id.
pub(crate) const TASK: &str = "/api/v1/tasks/{id}";
/// A dead one again.
pub(crate) const RETRY: &str = "/api/v1/tasks/{id}/retry";

/// What a task wrote.
pub(crate) const EXPORTS: &str = "/api/v1/exports";

/// The same for production and for tests.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource(
            PROFILES,
            "GET, HEAD, OPTIONS, POST",
            [get().to(profiles::list::list), web::post().to(profiles::create::create)],
        ))
        .service(resource(IMPORT, "OPTIONS, POST", [web::post().to(profiles::import::import)]))
        .service(resource(EXPORT, READ_ONLY, [get().to(profiles::export::export)]))
        .service(resource(
            PROFILE,
            "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
            [
                get().to(profiles::read::read),
                web::put().to(profiles::replace::replace),
                web::patch().to(profiles::patch::patch),
                web::delete().to(profiles::delete::delete),
            ],
        ))
        .service(resource(TASKS, READ_ONLY, [get().to(tasks::list::list)]))
        .service(resource(SUBMIT, "OPTIONS, POST", [web::post().to(tasks::submit::submit)]))
        .service(resource(
            TASK,
            "DELETE, GET, HEAD, OPTIONS",
            [get().to(tasks::read::read), web::delete().to(tasks::cancel::cancel)],
        ))
        .service(resource(RETRY, "OPTIONS, POST", [web::post().to(tasks::retry::retry)]))
        .service(resource("/api/v1/exports/{id}", READ_ONLY, [get().to(exports::read)]));
    configure_operations(config);
}

/// How the service is, for a process that does nothing but work on tasks.
pub(crate) fn configure_operations(config: &mut ServiceConfig) {
    config
        .service(resource("/health", READ_ONLY, [get().to(operations::health)]))
        .service(resource("/livez", READ_ONLY, [get().to(operations::livez)]))
        .service(resource("/readyz", READ_ONLY, [get().to(operations::readyz)]))
        .service(resource("/metrics", READ_ONLY, [get().to(operations::metrics)]))
        .service(resource("/openapi.json", READ_ONLY, [get().to(openapi::document)]))
        .service(resource("/docs", READ_ONLY, [get().to(docs::index)]))
        .service(resource("/docs/{file:.*}", READ_ONLY, [get().to(docs::file)]))
        .configure(views::configure)
        .default_service(web::to(async || Err::<HttpResponse, _>(Problem::route_not_found())));
}

pub(crate) const READ_ONLY: &str = "GET, HEAD, OPTIONS";

/// GET, and HEAD with it: the answer to HEAD is made as for GET, and sent without its body.
pub(crate) fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path with its methods. OPTIONS says which they are, and any other method is told so too.
pub(crate) fn resource<const N: usize>(path: &'static str, allow: &'static str, routes: [Route; N]) -> impl HttpServiceFactory {
    let other = web::to(move |method: Method| async move {
        if method == Method::OPTIONS {
            return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, allow)).finish());
        }
        let problem = Problem::new(Code::MethodNotAllowed, format!("this route takes {allow}"));
        Err(problem.with_header(header::ALLOW, HeaderValue::from_static(allow)))
    });
    let resource = routes.into_iter().fold(Resource::new(path), Resource::route).default_service(other);
    resource.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| observe::guard(path, request, next)))
}
