//! `/health`, `/livez`, `/readyz`, `/metrics`: for probes, and for people who wonder.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, http::header, web::Data};
use profile_application::{App, Deadline, Servers, causes};
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    problem::{Code, Problem},
    settings::Settings,
};

/// How long the store may take to give a sign of life.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an outcome is believed, so that many probes are one question to the store.
const CHECK_AGE: Duration = Duration::from_secs(1);

/// Where the process is between its start and its end.
#[derive(Debug, Default)]
pub struct Operations {
    started: AtomicBool,
    draining: AtomicBool,
    checked: Mutex<Option<(Instant, bool)>>,
}

impl Operations {
    /// Of a process that is starting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The start is done: from now on readiness is up to the store.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// The end is near: never ready again, while what still comes is served.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the end is near.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn phase(&self) -> &'static str {
        if self.is_draining() {
            "draining"
        } else if self.started.load(Ordering::Relaxed) {
            "serving"
        } else {
            "starting"
        }
    }

    /// Whether the store answers. Concurrent probes wait for one question.
    async fn store_answers(&self, app: &App) -> bool {
        let mut checked = self.checked.lock().await;
        if let Some((at, answers)) = *checked
            && at.elapsed() < CHECK_AGE
        {
            return answers;
        }
        let outcome = app.check(Deadline::within(CHECK_TIMEOUT)).await;
        if let Err(error) = &outcome {
            tracing::warn!(cause = causes(error), "the store doesn't answer");
        }
        *checked = Some((Instant::now(), outcome.is_ok()));
        outcome.is_ok()
    }
}

/// For people, and for probes that want a 200 while the process lives.
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health", summary = "How the service is",
    description = "Always 200 while the process lives; `status` says how it is.",
    responses((status = 200, description = "How it is", body = crate::schema::Health))
)]
pub(crate) async fn health(operations: Data<Operations>, app: Data<App>, settings: Data<Settings>) -> HttpResponse {
    let answers = operations.store_answers(&app).await;
    let phase = operations.phase();
    let status = match (answers, phase) {
        (false, _) => "down",
        (true, "serving") => "ok",
        (true, _) => "degraded",
    };
    let caches: Map<String, Value> =
        app.caches().into_iter().map(|(tier, used)| (tier.to_owned(), if used { "used" } else { "not_used" }.into())).collect();
    let mut store = json!({"status": if answers { "ok" } else { "down" }, "kind": settings.store});
    if let Some(Servers { primary, replicas, resting }) = app.servers() {
        store["primary"] = if primary { "known" } else { "unknown" }.into();
        store["replicas"] = json!({"used": replicas, "not_used": resting});
    }
    let mut checks = json!({"store": store, "caches": caches});
    if let Some(state) = app.queue_state() {
        checks["queue"] = state.as_str().into();
    }
    no_store().json(json!({
        "status": status,
        "phase": phase,
        "checks": checks,
        "version": settings.build.version,
    }))
}

/// Whether the process lives; it asks nothing of anyone.
#[utoipa::path(
    get, path = "/livez", tag = "operations", operation_id = "livez", summary = "Whether the process lives",
    responses((status = 200, description = "It does", body = str, content_type = "text/plain", example = "ok"))
)]
pub(crate) async fn livez() -> HttpResponse {
    no_store().content_type("text/plain; charset=utf-8").body("ok")
}

/// Whether traffic is wanted.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "readyz", summary = "Whether traffic is wanted",
    description = "It is from the end of the start until a stop begins, while the store answers.",
    responses((status = 200, description = "It is", body = str, content_type = "text/plain", example = "ok"))
)]
pub(crate) async fn readyz(operations: Data<Operations>, app: Data<App>) -> Result<HttpResponse, Problem> {
    match operations.phase() {
        "serving" if operations.store_answers(&app).await => Ok(no_store().content_type("text/plain; charset=utf-8").body("ok")),
        "serving" => Err(Problem::new(Code::NotReady, "the store doesn't answer")),
        "draining" => Err(Problem::new(Code::NotReady, "the service is stopping")),
        _ => Err(Problem::new(Code::NotReady, "the service is starting")),
    }
}

/// All metrics, of every crate that registered some.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics", summary = "Metrics for Prometheus",
    responses((status = 200, description = "The text format of Prometheus", body = str, content_type = "text/plain"))
)]
pub(crate) async fn metrics(registry: Data<Registry>) -> Result<HttpResponse, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&registry.gather(), &mut text).map_err(Problem::internal)?;
    Ok(no_store().content_type(encoder.format_type()).body(text))
}

fn no_store() -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}
