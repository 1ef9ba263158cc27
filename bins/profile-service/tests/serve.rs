//! `serve` over SQLite, as a process: from its start to its end.

mod support;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{CEILING, Server, canary, run};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn ada() -> Value {
    json!({"name": "Ada Lovelace", "email": "ada@example.com", "attributes": {"plan": "pro"}})
}

async fn create(server: &Server, body: &Value) -> String {
    let answer = server.client.post(server.url("/api/v1/profiles")).json(body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.headers()["location"].to_str().expect("a path").to_owned()
}

async fn get(server: &Server, path: &str) -> Value {
    let answer = server.client.get(server.url(path)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.expect("JSON")
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_after_a_kill() {
    let mut server = Server::start(&[]).await;
    let path = create(&server, &ada()).await;
    let written = get(&server, &path).await;
    assert_eq!(written["attributes"]["plan"], "pro");
    for signal in ["TERM", "KILL"] {
        server.restart_after(signal).await;
        let mut read = get(&server, &path).await;
        assert_eq!(read["source"], "database", "a cache in the process is gone with it");
        read["source"] = written["source"].clone();
        assert_eq!(read, written, "after SIG{signal}");
    }
}

#[tokio::test]
async fn cursors_outlive_a_restart() {
    let mut server = Server::start(&[]).await;
    for number in 0..3 {
        create(&server, &json!({"name": "Ada", "email": format!("{number}@example.com")})).await;
    }
    let first = get(&server, "/api/v1/profiles?limit=2").await;
    let cursor = first["next_cursor"].as_str().expect("there is one more").to_owned();
    server.restart_after("TERM").await;
    let second = get(&server, &format!("/api/v1/profiles?limit=2&cursor={cursor}")).await;
    assert_eq!(second["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["items"][0]["email"], "2@example.com");
}

#[tokio::test]
async fn two_configured_keys_are_valid_during_a_rotation() {
    let (old, new) = ("old-old-old-old-old-old-old-old-old", "new-new-new-new-new-new-new-new-new");
    let mut server = Server::start(&[("SECRET_KEY", old)]).await;
    for number in 0..3 {
        create(&server, &json!({"name": "Ada", "email": format!("{number}@example.com")})).await;
    }
    let page = get(&server, "/api/v1/profiles?limit=1").await;
    let next = format!("/api/v1/profiles?limit=1&cursor={}", page["next_cursor"].as_str().expect("there are more"));
    for (keys, expected) in [(format!("{new},{old}"), StatusCode::OK), (new.to_owned(), StatusCode::BAD_REQUEST)] {
        server.restart_with(&[("SECRET_KEY", &keys)]).await;
        assert_eq!(server.status(&next).await, Some(expected), "{keys}");
    }
    assert!(!server.log().contains("old-old") && !server.log().contains("new-new"), "{}", server.log());
}

#[tokio::test]
async fn a_second_one_on_the_same_folder_says_so_and_stops() {
    let server = Server::start(&[]).await;
    let folder = server.data_dir().display().to_string();
    let second = run(&["serve"], &[("DATA_DIR", &folder), ("SERVER_PORT", "0")]);
    assert_eq!(second.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&second.stderr),
        format!(
            "profile-service: {folder}/profiles.db is being served by another process: an embedded store belongs to one `serve` \
             at a time\n"
        )
    );
    assert_eq!(server.status("/readyz").await, Some(StatusCode::OK), "the first one goes on");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = Server::start(&[]).await;
    let address = server.base_url.trim_start_matches("http://");
    let port = address.rsplit(':').next().expect("a port");
    let second = run(&["serve"], &[("SERVER_PORT", port)]);
    assert_eq!(second.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&second.stderr),
        format!(
            "profile-service: SERVER_HOST and SERVER_PORT are {address}, which can't be listened on: Address already in use (os \
             error 98)\n"
        )
    );
}

#[tokio::test]
async fn sigterm_refuses_readiness_first_and_serves_on_for_the_grace() {
    let mut server = Server::start(&[("SHUTDOWN_GRACE", "5s")]).await;
    let path = create(&server, &ada()).await;
    let began = Instant::now();
    server.signal("TERM");
    server.wait_for("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(get(&server, &path).await["name"], "Ada Lovelace", "who still comes is served");
    assert_eq!(server.status("/livez").await, Some(StatusCode::OK));
    assert!(server.is_running());
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
    assert!(began.elapsed() >= Duration::from_secs(5), "the grace was kept");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&[("SHUTDOWN_GRACE", "10s")]).await;
    let began = Instant::now();
    server.signal("TERM");
    server.wait_for("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10), "it did not wait for the grace");
}

#[tokio::test]
async fn idle_connections_dont_delay_the_end() {
    let mut server = Server::start(&[]).await;
    // Kept alive by the client's pool.
    assert_eq!(server.status("/livez").await, Some(StatusCode::OK));
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_was_acknowledged_while_it_stopped_is_kept() {
    let mut server = Server::start(&[]).await;
    let mut clients = Vec::new();
    for client in 0..4 {
        let (http, url) = (server.client.clone(), server.url("/api/v1/profiles"));
        clients.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let body = json!({"name": "Ada", "email": format!("{client}.{number}@example.com")});
                match http.post(&url).json(&body).send().await {
                    Ok(answer) if answer.status() == StatusCode::CREATED => {
                        acknowledged.push(answer.headers()["location"].to_str().expect("a path").to_owned());
                    }
                    Ok(answer) => assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "while it stops"),
                    Err(_) => break,
                }
            }
            acknowledged
        }));
    }
    let began = Instant::now();
    while get(&server, "/api/v1/profiles?limit=200").await["items"].as_array().map_or(0, Vec::len) < 20 {
        assert!(began.elapsed() < CEILING, "the clients don't get on");
    }
    server.restart_after("TERM").await;
    for client in clients {
        for path in client.await.expect("a client") {
            get(&server, &path).await;
        }
    }
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_before_the_end() {
    let mut server = Server::start(&[]).await;
    let address = server.base_url.trim_start_matches("http://").to_owned();
    let body = ada().to_string();
    let (first, second) = body.split_at(10);
    let mut connection = TcpStream::connect(&address).await.expect("it listens");
    let head = format!(
        "POST /api/v1/profiles HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{first}").as_bytes()).await.expect("a part of it");
    wait_for_requests_in_flight(&server, 2).await;
    server.signal("TERM");
    let began = Instant::now();
    while TcpStream::connect(&address).await.is_ok() {
        assert!(began.elapsed() < CEILING, "it goes on listening");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connection.write_all(second.as_bytes()).await.expect("the rest of it");
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201");
    drop(connection);
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
}

/// Waits until so many requests are being worked on, the one that asks included.
async fn wait_for_requests_in_flight(server: &Server, count: u32) {
    let line = format!("http_requests_in_flight {count}");
    let began = Instant::now();
    loop {
        let answer = server.client.get(server.url("/metrics")).send().await.expect("an answer");
        let metrics = answer.text().await.expect("text");
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(began.elapsed() < CEILING, "never {count} requests at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_its_database_it_lives_and_is_not_ready() {
    // Nothing listens on port 1.
    let variables = [("DB_HOST", "127.0.0.1"), ("DB_PORT", "1"), ("DB_PASSWORD", "hush-hush")];
    let mut server = Server::listening(&variables).await;
    assert_eq!(server.status("/livez").await, Some(StatusCode::OK));
    assert_eq!(server.status("/readyz").await, Some(StatusCode::SERVICE_UNAVAILABLE));
    let health = get(&server, "/health").await;
    assert_eq!(health["status"], "down");
    let answer = server.client.post(server.url("/api/v1/profiles")).json(&ada()).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("hush-hush"), "{}", server.log());
}

#[tokio::test]
async fn logs_tell_nothing_of_people() {
    canary::no_line_tells_of_people(Server::start(&[("LOG_LEVEL", "trace")]).await).await;
}
