//! A primary with a replica, instances on them, and the calls that tests make.

use std::{sync::Arc, time::Instant};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    checker::{History, Seen},
    support::{
        CEILING, PrivatePostgres, Server,
        stores::{ask, profile},
    },
};

/// A server, and one that follows it. In this order, so that the replica goes first.
pub(crate) struct Pair {
    pub(crate) replica: PrivatePostgres,
    pub(crate) primary: PrivatePostgres,
}

impl Pair {
    /// The replica applies what it gets so much later.
    pub(crate) async fn with_delay(delay: &str) -> Self {
        let primary = PrivatePostgres::start().await;
        // What waits to be applied is applied while others read: nobody is cancelled for that.
        let settings = [("recovery_min_apply_delay", delay), ("max_standby_streaming_delay", "-1")];
        Self { replica: primary.replica(&settings).await, primary }
    }

    /// An instance that is ready, on rows that were brought over from another server, of which they say something.
    pub(crate) async fn instance(&self, more: &[(&str, &str)]) -> Arc<Server> {
        let server = self.listening(more).await;
        server.wait_for("/readyz", StatusCode::OK).await;
        let foreign =
            "INSERT INTO timelines VALUES (7, 9) ON CONFLICT (servers, timeline) DO UPDATE SET timeline = 9 RETURNING 'yes'";
        assert_eq!(ask(&self.primary.url, foreign).await, "yes");
        Arc::new(server)
    }

    /// An instance that may never be ready.
    pub(crate) async fn listening(&self, more: &[(&str, &str)]) -> Server {
        let mut variables = self.primary.variables();
        let replica = self.replica.address();
        variables.push(("DB_REPLICA_HOSTS".to_owned(), replica));
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Server::listening(&[variables.as_slice(), more].concat()).await
    }
}

pub(crate) fn token(answer: &Response) -> Option<String> {
    answer.headers().get("x-consistency-token").map(|token| token.to_str().expect("text").to_owned())
}

/// A profile, and all that is known of it.
pub(crate) async fn create(server: &Server, name: &str) -> History {
    let email = format!("{name}@example.com");
    let answer = server.client.post(server.url("/api/v1/profiles")).json(&profile(name, &email)).send().await.expect("an answer");
    let (status, token) = (answer.status(), token(&answer));
    let created: Value = answer.json().await.expect("JSON");
    assert_eq!(status, StatusCode::CREATED, "{created}");
    History::new(created["id"].as_str().expect("an id").to_owned(), name, token)
}

/// Renames a profile.
pub(crate) async fn rename(server: &Server, history: &History, name: &str) {
    history.begin(Some(name.to_owned()));
    let request = server.client.patch(server.url(&history.path())).header("content-type", "application/merge-patch+json");
    let answer = request.body(json!({"name": name}).to_string()).send().await.expect("an answer");
    let (status, token) = (answer.status(), token(&answer));
    assert_eq!(status, StatusCode::OK, "{}", answer.text().await.expect("text"));
    assert!(token.is_some(), "a write gives a token");
    history.acknowledge(token);
}

/// The version and the name that a read shows, when it began.
pub(crate) async fn read(server: &Server, history: &History, token: Option<&str>) -> (Instant, Seen) {
    let (began, status, body) = get(server, &history.path(), token).await;
    assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{status}: {body}");
    (began, seen(&body))
}

/// The same as a list shows it, of those that serve its address.
pub(crate) async fn listed(server: &Server, history: &History, email: &str, token: Option<&str>) -> (Instant, Seen) {
    let (began, status, body) = get(server, &format!("/api/v1/profiles?email={email}"), token).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let items = body["items"].as_array().expect("a list");
    (began, items.iter().find(|item| item["id"] == history.id.as_str()).and_then(seen))
}

async fn get(server: &Server, path: &str, token: Option<&str>) -> (Instant, StatusCode, Value) {
    let mut request = server.client.get(server.url(path));
    if let Some(token) = token {
        request = request.header("x-consistency-token", token);
    }
    let began = Instant::now();
    let answer = request.send().await.expect("an answer");
    (began, answer.status(), answer.json().await.expect("JSON"))
}

fn seen(body: &Value) -> Seen {
    Some((body["version"].as_i64()?, body["name"].as_str()?.to_owned()))
}

/// How often replicas were asked, with this outcome.
pub(crate) async fn replica_reads(server: &Server, outcome: &str) -> u64 {
    let text = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let of_outcome = format!("outcome=\"{outcome}\"");
    let line = text.lines().find(|line| line.starts_with("db_replica_reads_total{") && line.contains(&of_outcome));
    line.map_or(0, |line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"))
}

/// Waits until an instance reads from so many replicas.
pub(crate) async fn until_replicas_used(server: &Server, used: u64) {
    let began = Instant::now();
    loop {
        let health: Value = server.client.get(server.url("/health")).send().await.expect("an answer").json().await.expect("JSON");
        if health["checks"]["store"]["replicas"]["used"] == used {
            return;
        }
        assert!(began.elapsed() < CEILING, "{health}: {}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Waits until an instance has said something.
pub(crate) async fn until_logged(server: &Server, text: &str) {
    let began = Instant::now();
    while !server.log().contains(text) {
        assert!(began.elapsed() < CEILING, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
