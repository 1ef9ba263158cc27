//! What happens around every request: its id, its log line, its metrics, and that a panic or a foreign error becomes a problem.

use std::{
    cell::Cell,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    middleware::Next,
};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    metrics::{HttpMetrics, method_label},
    problem::{Code, Problem},
    request_id::{self, RequestId},
    unread::Unread,
};

/// The route's pattern until a route is found.
const UNMATCHED: &str = "unmatched";
/// What is counted when the client went away before there was an answer; nginx's number for it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The pattern of the route that a request was matched with, set by [`guard`] for [`observe`].
#[derive(Clone)]
struct Route(Rc<Cell<&'static str>>);

/// The outermost layer.
pub(crate) async fn observe<B: MessageBody + 'static>(
    metrics: Arc<HttpMetrics>,
    new_id: fn() -> Uuid,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let unread = Unread::of(&mut request);
    let id = RequestId::of(&request, new_id);
    let route = Route(Rc::new(Cell::new(UNMATCHED)));
    request.extensions_mut().insert(route.clone());
    let watch = Watch::begin(metrics, method_label(request.method()), route, id.clone());
    // At the level of errors, so that no log level takes the id away from what is logged below.
    let span = tracing::error_span!("request", "request.id" = id.as_str());
    let mut answer = next.call(request).instrument(span).await?.map_into_boxed_body();
    answer = refuse_foreign_errors(answer);
    if let Some(problem) = answer.response().error().and_then(Error::as_error::<Problem>) {
        watch.log(problem);
    }
    let headers = answer.headers_mut();
    headers.insert(request_id::HEADER, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    watch.end(answer.status());
    Ok(match unread {
        Some(unread) => answer.map_body(|_, body| unread.hold(body)),
        None => answer,
    })
}

/// Around each route: names its pattern, and turns a panic into a problem, so that the worker lives on.
pub(crate) async fn guard<B: MessageBody + 'static>(
    pattern: &'static str,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Some(route) = request.extensions().get::<Route>() {
        route.0.set(pattern);
    }
    let kept = request.request().clone();
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answer) => Ok(answer?.map_into_boxed_body()),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
            let problem = Problem::internal(format!("panic: {}", said.unwrap_or_default()));
            Ok(ServiceResponse::new(kept, HttpResponse::from_error(problem)))
        }
    }
}

/// Errors that the framework makes up by itself come as plain text; nothing here should reach that far.
fn refuse_foreign_errors(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let foreign = match answer.response().error() {
        Some(error) if error.as_error::<Problem>().is_none() => error.to_string(),
        _ => return answer,
    };
    let (request, _) = answer.into_parts();
    ServiceResponse::new(request, HttpResponse::from_error(Problem::internal(foreign)))
}

/// One request from its head to its answer. Dropped early, the client went away.
struct Watch {
    metrics: Arc<HttpMetrics>,
    method: &'static str,
    route: Route,
    id: RequestId,
    began: Instant,
    status: Option<StatusCode>,
}

impl Watch {
    fn begin(metrics: Arc<HttpMetrics>, method: &'static str, route: Route, id: RequestId) -> Self {
        metrics.begun();
        Self { metrics, method, route, id, began: Instant::now(), status: None }
    }

    fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// One line for each failure on our side, with the cause that the client is not told.
    fn log(&self, problem: &Problem) {
        let (code, route, id) = (problem.code(), self.route.0.get(), self.id.as_str());
        if !code.status().is_server_error() {
            return;
        }
        let cause = problem.cause().unwrap_or_default();
        if matches!(code, Code::Unavailable | Code::NotReady | Code::SourcesUnavailable | Code::PartialDataFetch) {
            tracing::warn!(request.id = id, http.route = route, code = code.text(), cause, "request can't be served now");
        } else {
            tracing::error!(request.id = id, http.route = route, code = code.text(), cause, "request failed");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        let gone = || StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST);
        let status = self.status.unwrap_or_else(gone);
        let route = self.route.0.get();
        self.metrics.ended(self.method, route, status, took);
        tracing::info!(
            request.id = self.id.as_str(),
            http.method = self.method,
            http.route = route,
            http.status = status.as_u16(),
            duration_ms = f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1e3,
            "request"
        );
    }
}
