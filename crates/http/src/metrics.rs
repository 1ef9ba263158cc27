//! Requests counted by method, route pattern and status: every label comes from a fixed set.

use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::settings::BuildInfo;

/// Answers come in microseconds from memory and in seconds from a store in trouble.
const SECONDS: [f64; 13] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What is measured about requests.
pub struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
}

impl HttpMetrics {
    /// Registers them, together with `build_info` and the metrics of the process.
    ///
    /// # Errors
    /// Where the registry has metrics of these names already.
    pub fn register(registry: &Registry, build: BuildInfo) -> prometheus::Result<Self> {
        let requests = Opts::new("http_requests_total", "Requests answered, by method, route pattern and status.");
        let requests = IntCounterVec::new(requests, &["method", "route", "status"])?;
        let duration = HistogramOpts::new("http_request_duration_seconds", "Time from a request's head to its answer's head.")
            .buckets(SECONDS.to_vec());
        let duration = HistogramVec::new(duration, &["method", "route"])?;
        let in_flight = IntGauge::new("http_requests_in_flight", "Requests being worked on.")?;
        let info = IntGaugeVec::new(Opts::new("build_info", "What is running; always 1."), &["version", "commit"])?;
        info.with_label_values(&[build.version, build.commit]).set(1);

        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(info))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { requests, duration, in_flight })
    }

    pub(crate) fn begun(&self) {
        self.in_flight.inc();
    }

    pub(crate) fn ended(&self, method: &'static str, route: &'static str, status: StatusCode, took: Duration) {
        self.in_flight.dec();
        self.requests.with_label_values(&[method, route, status.as_str()]).inc();
        self.duration.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }
}

/// The method as a label; clients can make up others without end.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
