//! What is logged of a request, and what never is.

use std::{
    io,
    sync::{Arc, Mutex},
};

use actix_web::test::TestRequest;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Api, Trouble};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Logs of this thread until the guard is dropped.
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[actix_web::test]
async fn a_request_is_one_line_without_path_query_or_body() {
    let (api, lines) = (Api::new(), Lines::default());
    let guard = lines.capture();
    api.create(json!({"name": "Secret Name", "email": "secret@example.com"})).await;
    let named = TestRequest::get().uri("/api/v1/profiles?email=secret@example.com&name=secret");
    api.call(named.insert_header(("X-Request-ID", "r-1"))).await;
    api.call(TestRequest::get().uri("/secret")).await;
    drop(guard);
    let lines = lines.take();
    let seen: Vec<_> = lines.iter().map(|line| (&line["http.method"], &line["http.route"], &line["http.status"])).collect();
    let expected = [
        (&json!("POST"), &json!("/api/v1/profiles"), &json!(201)),
        (&json!("GET"), &json!("/api/v1/profiles"), &json!(400)),
        (&json!("GET"), &json!("unmatched"), &json!(404)),
    ];
    assert_eq!(seen, expected);
    assert_eq!((&lines[1]["request.id"], &lines[1]["level"]), (&json!("r-1"), &json!("INFO")));
    assert!(lines[1]["duration_ms"].as_f64().is_some_and(|duration| duration > 0.0));
    assert!(!format!("{lines:?}").to_lowercase().contains("secret"), "{lines:?}");
}

#[actix_web::test]
async fn a_failure_on_our_side_is_one_line_more_with_its_cause() {
    for (trouble, level, cause) in [
        (Trouble::Unavailable, "WARN", "the store is unavailable: secret detail of the store"),
        (Trouble::Corrupt, "ERROR", "stored data is corrupt: secret detail of the store"),
        (Trouble::Panic, "ERROR", "panic: secret detail of a panic"),
    ] {
        let (api, lines) = (Api::new(), Lines::default());
        api.trouble(trouble);
        let guard = lines.capture();
        let path = "/api/v1/profiles/0199f3c2-0000-7000-8000-000000000000";
        api.call(TestRequest::get().uri(path).insert_header(("X-Request-ID", "r-2"))).await;
        drop(guard);
        let lines = lines.take();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let failure = &lines[0];
        assert_eq!((&failure["level"], &failure["cause"]), (&json!(level), &json!(cause)));
        assert_eq!((&failure["request.id"], &failure["http.route"]), (&json!("r-2"), &json!("/api/v1/profiles/{id}")));
    }
}
