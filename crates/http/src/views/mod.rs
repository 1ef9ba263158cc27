//! Views of live sources: one file for each, and what their answers have in common.

pub(crate) mod customer;
pub(crate) mod forget;
pub(crate) mod profile;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName, HeaderValue},
    web::ServiceConfig,
};
use profile_application::{ViewAnswer, ViewError, ViewOrigin};
use profile_domain::SourceName;

use crate::{
    problem::{Code, Problem},
    routes::{READ_ONLY, get, resource},
};

/// A merged profile, by its id in the path.
const PROFILE: &str = "/profile/{id}";
/// The same by its id in the query.
const PROFILE_BY_QUERY: &str = "/profile";
/// Sections about a customer.
const AGGREGATED: &str = "/aggregated-data";

/// The sources that an answer lacks.
const UNAVAILABLE_SOURCES: HeaderName = HeaderName::from_static("x-unavailable-sources");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Of the one form of `traceparent` that there is (W3C Trace Context § 3.2).
const TRACEPARENT_BYTES: usize = 55;

/// Their routes.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource(PROFILE, READ_ONLY, [get().to(profile::by_path)]))
        .service(resource(PROFILE_BY_QUERY, READ_ONLY, [get().to(profile::by_query)]))
        .service(resource(AGGREGATED, READ_ONLY, [get().to(customer::read)]));
}

/// The trace that a request belongs to, if it says so in the form that is passed on.
fn traceparent(request: &HttpRequest) -> Option<String> {
    let text = request.headers().get(&TRACEPARENT)?.to_str().ok()?;
    let well_formed = text.len() == TRACEPARENT_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    well_formed.then(|| text.to_owned())
}

fn answer(answer: ViewAnswer) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "X-Tenant-ID"))
        .insert_header((CACHE_STATUS, cache_status(answer.origin)));
    if let Some(names) = names(&answer.unavailable) {
        response.insert_header((UNAVAILABLE_SOURCES, names));
    }
    response.body(answer.body)
}

/// As for a stored profile; where sources answered, it says so.
fn cache_status(origin: ViewOrigin) -> HeaderValue {
    let status = match origin {
        ViewOrigin::Sources => return HeaderValue::from_static("profile-service; fwd=miss"),
        ViewOrigin::Cache { tier, expires_in } => format!("profile-service; hit; ttl={}; detail={tier}", expires_in.as_secs()),
        ViewOrigin::Stale { age, .. } => format!("profile-service; hit; ttl=-{}; detail=STALE_IF_ERROR", age.as_secs().max(1)),
    };
    // Numbers and names of tiers: always valid.
    HeaderValue::try_from(status).unwrap_or_else(|_| HeaderValue::from_static("profile-service; hit"))
}

fn names(sources: &[SourceName]) -> Option<HeaderValue> {
    let names = sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| HeaderValue::try_from(names).ok()).flatten()
}

/// `unavailable` and `unknown` are what the view calls it.
fn problem(error: ViewError, unknown: Code, unavailable_code: Code) -> Problem {
    match error {
        ViewError::NotConfigured => {
            Problem::new(Code::ViewNotConfigured, "no sources are configured for this view, or none for this tenant")
        }
        ViewError::Unknown => Problem::new(unknown, "every source answered, and none knows this id"),
        ViewError::Unavailable { available, unavailable } => {
            let detail = "no source that could know it answered in time; try again in a moment";
            let available = available.iter().map(|section| section.as_str()).collect();
            let problem = Problem::new(unavailable_code, detail);
            let problem = if unavailable_code == Code::PartialDataFetch { problem.with_available(available) } else { problem };
            match names(&unavailable) {
                Some(names) => problem.with_header(UNAVAILABLE_SOURCES, names),
                None => problem,
            }
        }
        ViewError::Store(error) => error.into(),
    }
}
