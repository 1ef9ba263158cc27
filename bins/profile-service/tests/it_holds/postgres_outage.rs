//! PostgreSQL stopped, absent, or left by its clients in the middle: 503 and not a hang, then everything as before.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    stores::{create, idle_in_transaction, profile, start_on},
    support::{PrivatePostgres, Server, fresh_database},
};
use profile_port_contracts::scaled;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Generous: the figure is 2 s.
const ANSWER_CEILING: Duration = Duration::from_secs(10);
/// Generous: the figure is 5 s.
const RECOVERY_CEILING: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_costs_503s_and_nothing_once_it_goes_on() {
    let postgres = PrivatePostgres::start().await;
    let address = postgres.url.parse::<tokio_postgres::Config>().expect("a URL");
    let port = address.get_ports()[0].to_string();
    let variables = [("DB_HOST", "127.0.0.1"), ("DB_PORT", &port), ("DB_USER", "postgres"), ("DB_NAME", "postgres")];
    let server = Arc::new(Server::start(&variables).await);
    outage(&server, || postgres.signal("STOP"), || postgres.signal("CONT")).await;
    assert_eq!(idle_in_transaction(&postgres.url, "postgres").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_server_costs_503s_and_nothing_once_it_is_back() {
    let database = fresh_database().await;
    let proxy = Proxy::before(database.address()).await;
    let server = Arc::new(start_on(&database, Some(proxy.address)).await);
    outage(&server, || proxy.open.send_replace(false), || proxy.open.send_replace(true)).await;
    assert_eq!(idle_in_transaction(&database.url(), &database.name).await, "0");
}

/// Takes the database away under load and gives it back.
async fn outage<T>(server: &Arc<Server>, take: impl FnOnce() -> T, give: impl FnOnce() -> T) {
    let id = create(server, &profile("Before", "before@example.com")).await;
    let log: Arc<Mutex<Vec<(Instant, Instant, StatusCode)>>> = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    for client in 0..16 {
        let (server, log, stopped, id) = (Arc::clone(server), Arc::clone(&log), stopped.clone(), id.clone());
        load.spawn(async move {
            let mut created = Vec::new();
            for round in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let begun = Instant::now();
                let answer = if client % 2 == 0 {
                    server.client.get(server.url(&format!("/api/v1/profiles/{id}"))).send().await
                } else {
                    let email = format!("load-{client}-{round}@example.com");
                    let answer = server.client.post(server.url("/api/v1/profiles")).json(&profile("Load", &email)).send().await;
                    if answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::CREATED) {
                        created.push(email);
                    }
                    answer
                };
                let answer = answer.expect("an answer, whatever happens");
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                    assert!(answer.headers().contains_key("retry-after"));
                    let problem: Value = answer.json().await.expect("a problem");
                    assert!(matches!(problem["error"]["code"].as_str(), Some("UNAVAILABLE" | "COMMIT_UNKNOWN")), "{problem}");
                    log.lock().expect("the log").push((begun, Instant::now(), StatusCode::SERVICE_UNAVAILABLE));
                } else {
                    assert!(answer.status().is_success(), "{}", answer.status());
                    log.lock().expect("the log").push((begun, Instant::now(), answer.status()));
                }
            }
            created
        });
    }
    let count = |status: fn(StatusCode) -> bool, since: Instant| {
        log.lock().expect("the log").iter().filter(|(begun, _, found)| *begun >= since && status(*found)).count()
    };
    let wait_for = |status: fn(StatusCode) -> bool, since: Instant, ceiling: Duration| async move {
        while count(status, since) < 20 {
            assert!(since.elapsed() < ceiling, "it didn't come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    wait_for(|status| status.is_success(), Instant::now(), ANSWER_CEILING).await;

    take();
    let away = Instant::now();
    wait_for(|status| status == StatusCode::SERVICE_UNAVAILABLE, away, ANSWER_CEILING).await;
    let alive = server.client.get(server.url("/livez")).send().await.expect("an answer");
    assert_eq!(alive.status(), StatusCode::OK);
    server.wait_for("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    let health: Value = server.get_json("/health").await;
    assert_ne!(health["status"], "ok", "{health}");

    give();
    let back = Instant::now();
    // All well: a whole second in which nothing that began failed.
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = Instant::now();
        let second_ago = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let failed = count(|status| !status.is_success(), second_ago);
        if second_ago > back && failed == 0 && count(|status| status.is_success(), second_ago) > 20 {
            break;
        }
        assert!(back.elapsed() < RECOVERY_CEILING, "requests still fail");
    }
    stop.send_replace(true);
    let created: Vec<String> = load.join_all().await.into_iter().flatten().collect();

    let (slowest, last_failure) = {
        let log = log.lock().expect("the log");
        let failures = log.iter().filter(|(_, _, status)| !status.is_success());
        (log.iter().map(|(begun, ended, _)| *ended - *begun).max(), failures.map(|(_, ended, _)| *ended).max())
    };
    let slowest = slowest.unwrap_or_default();
    let last_failure = last_failure.and_then(|at| at.checked_duration_since(back));
    eprintln!("slowest answer {slowest:?}; last 503 {last_failure:?} after the return");
    assert!(slowest < ANSWER_CEILING);
    for email in created {
        let found = server.get_json(&format!("/api/v1/profiles?email={email}")).await;
        assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{email} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_client_has_gone_is_finished_or_rolled_back_whole() {
    let database = fresh_database().await;
    let server = start_on(&database, None).await;
    let address: SocketAddr = server.address();
    let mut clients = JoinSet::new();
    let count = scaled(2_000);
    for index in 0..count {
        clients.spawn(async move {
            let body =
                json!({"name": "Gone", "email": format!("gone{index}@example.com"), "attributes": {"batch": "gone"}}).to_string();
            let head = format!(
                "POST /api/v1/profiles HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_zero_linger().expect("linger");
            stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
            // The reset arrives somewhere between before and after the commit.
            tokio::time::sleep(Duration::from_micros(u64::from(index) * 97 % 12_000)).await;
            drop(stream);
        });
    }
    clients.join_all().await;
    // A request that comes after them all on the same store: whatever was begun has ended when both views agree twice.
    let mut whole = BTreeMap::new();
    for index in 0..count {
        let email = format!("gone{index}@example.com");
        let found = server.get_json(&format!("/api/v1/profiles?email={email}&attr.batch=gone")).await;
        whole.insert(email, found["items"].as_array().map_or(0, Vec::len));
    }
    for (email, found) in &whole {
        let again = server.client.post(server.url("/api/v1/profiles")).json(&profile("Again", email));
        let status = again.send().await.expect("an answer").status();
        // What was there is taken; what wasn't is free, unless its commit ended in between, whole.
        match (found, status) {
            (1, StatusCode::CONFLICT) | (0, StatusCode::CREATED) => {}
            (0, StatusCode::CONFLICT) => {
                let found = server.get_json(&format!("/api/v1/profiles?email={email}&attr.batch=gone")).await;
                assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{email} is taken by nobody");
            }
            other => panic!("{email}: {other:?}"),
        }
    }
    assert_eq!(idle_in_transaction(&database.url(), &database.name).await, "0");
}

/// Stands between the service and PostgreSQL, and can be away.
struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (open, mut opened) = watch::channel(true);
        tokio::spawn(async move {
            let mut listener = Some(listener);
            loop {
                if *opened.borrow_and_update() {
                    let bound = match listener.take() {
                        Some(bound) => bound,
                        None => TcpListener::bind(address).await.expect("the same port"),
                    };
                    loop {
                        tokio::select! {
                            accepted = bound.accept() => {
                                let (mut client, _) = accepted.expect("a connection");
                                let mut closed = opened.clone();
                                tokio::spawn(async move {
                                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                                    tokio::select! {
                                        _ = copy_bidirectional(&mut client, &mut server) => {}
                                        _ = closed.wait_for(|open| !open) => {
                                            let _ = (client.set_zero_linger(), server.set_zero_linger());
                                        }
                                    }
                                });
                            }
                            _ = opened.changed() => break,
                        }
                    }
                } else if opened.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { address, open }
    }
}
