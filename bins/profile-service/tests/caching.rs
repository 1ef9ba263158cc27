//! What clients and operators see of caches: a real process over SQLite. With Redis: `caches_redis`.

mod support;

use std::{net::TcpListener, time::Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use support::{CEILING, Ended, Server};

async fn send(server: &Server, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Response {
    let mut request = server.client.request(method, server.url(path));
    if let Some(token) = token {
        request = request.header("X-Consistency-Token", token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.expect("an answer")
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

/// A new profile: its path and the token.
async fn create(server: &Server, email: &str) -> (String, String) {
    let answer = send(server, Method::POST, "/api/v1/profiles", None, Some(json!({"name": "Ada", "email": email}))).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    (header(&answer, "location"), header(&answer, "x-consistency-token"))
}

/// Where a read was answered from: `source`, and what `Cache-Status` says without numbers.
async fn read(server: &Server, path: &str, token: Option<&str>) -> (String, String) {
    let answer = send(server, Method::GET, path, token, None).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let status: String = header(&answer, "cache-status").chars().filter(|character| !character.is_ascii_digit()).collect();
    let body: Value = answer.json().await.expect("JSON");
    (body["source"].as_str().expect("text").to_owned(), status)
}

async fn until(server: &Server, path: &str, wanted: (&str, &str)) {
    let began = Instant::now();
    loop {
        let now = read(server, path, None).await;
        if (now.0.as_str(), now.1.as_str()) == wanted {
            return;
        }
        assert!(began.elapsed() < CEILING, "{now:?} instead of {wanted:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

const HIT: (&str, &str) = ("cache", "profile-service; hit; ttl=; detail=memory");
const MISS: (&str, &str) = ("database", "profile-service; fwd=miss");
const REQUEST: (&str, &str) = ("database", "profile-service; fwd=request");
const BYPASS: (&str, &str) = ("database", "profile-service; fwd=bypass");

fn owned(pair: (&str, &str)) -> (String, String) {
    (pair.0.to_owned(), pair.1.to_owned())
}

/// Where operators are served, which only the log tells for port 0.
fn admin(server: &Server, path: &str) -> String {
    let log = server.log();
    let line = log.lines().find(|line| line.contains("\"listening\"")).expect("it listens");
    let line: Value = serde_json::from_str(line).expect("JSON");
    format!("http://{}{path}", line["admin"].as_str().expect("an address"))
}

#[tokio::test]
async fn a_read_says_where_it_was_answered_from() {
    let server = Server::start(&[]).await;
    let (path, _) = create(&server, "ada@example.com").await;
    until(&server, &path, HIT).await;
    let answer = send(&server, Method::PUT, &path, None, Some(json!({"name": "Grace", "email": "ada@example.com"}))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let shown: Value = send(&server, Method::GET, &path, None, None).await.json().await.expect("JSON");
    assert_eq!((&shown["name"], &shown["version"]), (&json!("Grace"), &json!(2)));
    until(&server, &path, HIT).await;
    let health: Value = send(&server, Method::GET, "/health", None, None).await.json().await.expect("JSON");
    assert_eq!(health["checks"]["caches"], json!({"memory": "used"}));
    assert_eq!(send(&server, Method::DELETE, &path, None, None).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&server, Method::GET, &path, None, None).await.status(), StatusCode::NOT_FOUND);

    let server = Server::start(&[("CACHE", "off")]).await;
    let (path, _) = create(&server, "ada@example.com").await;
    assert_eq!(read(&server, &path, None).await, owned(BYPASS));
    let health: Value = send(&server, Method::GET, "/health", None, None).await.json().await.expect("JSON");
    assert_eq!(health["checks"]["caches"], json!({}));
}

#[tokio::test]
async fn a_token_is_satisfied_by_its_version_or_by_the_store() {
    let server = Server::start(&[]).await;
    let (path, created) = create(&server, "ada@example.com").await;
    let (other, _) = create(&server, "other@example.com").await;
    until(&server, &path, HIT).await;
    until(&server, &other, HIT).await;
    assert_eq!(read(&server, &path, Some(&created)).await, owned(HIT));
    assert_eq!(read(&server, &other, Some(&created)).await, owned(REQUEST), "it says nothing of another profile");
    let written = send(&server, Method::PATCH, &path, None, Some(json!({"name": "Grace"}))).await;
    let written = header(&written, "x-consistency-token");
    assert_eq!(read(&server, &path, Some(&written)).await, owned(HIT));
    assert_eq!(read(&server, &path, Some(&created)).await, owned(HIT), "a later version is fine");
    let deleted = send(&server, Method::DELETE, &path, None, None).await;
    let deleted = header(&deleted, "x-consistency-token");
    assert_eq!(send(&server, Method::GET, &path, Some(&deleted), None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_that_was_not_made_here_is_refused() {
    let mut server = Server::start(&[]).await;
    let (path, token) = create(&server, "ada@example.com").await;
    let mut wrong: Vec<String> = ["", "x", "not base64!", &token[1..], &format!("{token}A"), &"A".repeat(token.len())]
        .into_iter()
        .map(str::to_owned)
        .collect();
    for index in 0..token.len() - 1 {
        let other = if token.as_bytes()[index] == b'A' { "B" } else { "A" };
        wrong.push(format!("{}{other}{}", &token[..index], &token[index + 1..]));
    }
    for wrong in &wrong {
        let answer = send(&server, Method::GET, &path, Some(wrong), None).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["error"]["code"], "INVALID_TOKEN", "{wrong}");
    }
    for path in ["/api/v1/profiles".to_owned(), format!("{path}?explain=true")] {
        for wrong in &wrong[..6] {
            let answer = send(&server, Method::GET, &path, Some(wrong), None).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path} {wrong}");
            let problem: Value = answer.json().await.expect("JSON");
            assert_eq!(problem["error"]["code"], "INVALID_TOKEN", "{path} {wrong}");
        }
        let answer = send(&server, Method::GET, &path, Some(&token), None).await;
        assert_eq!(answer.status(), StatusCode::OK, "the one store satisfies every token: {path}");
    }
    let twice = server.client.get(server.url(&path)).header("X-Consistency-Token", &token).header("X-Consistency-Token", &token);
    assert_eq!(twice.send().await.expect("an answer").status(), StatusCode::BAD_REQUEST);
    server.restart_after("TERM").await;
    let answer = send(&server, Method::GET, &path, Some(&token), None).await;
    assert_eq!(answer.status(), StatusCode::OK, "another process takes it");
}

#[tokio::test]
async fn operators_clear_caches_and_set_the_log_level() {
    let server = Server::start(&[]).await;
    let (path, _) = create(&server, "ada@example.com").await;
    let id = path.rsplit('/').next().expect("an id");
    until(&server, &path, HIT).await;

    let forget = async |id: &str, tenant: &str| {
        let request = server.client.delete(admin(&server, &format!("/cache/{id}"))).header("X-Tenant-ID", tenant);
        request.send().await.expect("an answer").status()
    };
    assert_eq!(forget(id, "other").await, StatusCode::NO_CONTENT);
    assert_eq!(read(&server, &path, None).await, owned(HIT), "it is another tenant's");
    assert_eq!(forget(id, "default").await, StatusCode::NO_CONTENT);
    assert_eq!(read(&server, &path, None).await, owned(MISS));
    assert_eq!(forget("no-id", "default").await, StatusCode::NOT_FOUND);

    until(&server, &path, HIT).await;
    let cleared = server.client.delete(admin(&server, "/cache")).send().await.expect("an answer");
    assert_eq!(cleared.status(), StatusCode::NO_CONTENT);
    assert_eq!(read(&server, &path, None).await, owned(MISS));

    let level = async |level: Value| {
        let request = server.client.put(admin(&server, "/log-level")).json(&json!({"level": level}));
        request.send().await.expect("an answer").status()
    };
    let logged = || server.log().lines().filter(|line| line.contains(r#""http.method":"POST""#)).count();
    while logged() < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(level(json!("error")).await, StatusCode::OK);
    create(&server, "unheard@example.com").await;
    assert_eq!(level(json!("info")).await, StatusCode::OK);
    create(&server, "heard@example.com").await;
    let began = Instant::now();
    while logged() < 2 {
        assert!(began.elapsed() < CEILING, "{}", server.log());
        tokio::task::yield_now().await;
    }
    assert_eq!(logged(), 2, "{}", server.log());
    for wrong in [json!("loud"), json!("off"), json!(7), json!(null)] {
        assert_eq!(level(wrong.clone()).await, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    let elsewhere = server.client.delete(server.url("/cache")).send().await.expect("an answer");
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND, "clients have no such route");
}

#[tokio::test]
async fn an_address_for_operators_that_is_taken_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let Err(Ended { status, log }) = Server::attempt(&[("ADMIN_ADDRESS", &address)]).await else { panic!("it started") };
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains(&format!("ADMIN_ADDRESS is {address}, which can't be listened on")), "{log}");
}
