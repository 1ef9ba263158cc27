//! Clients that reset their connections in the middle of writes, by the hundred, while PostgreSQL is slow.

use std::time::{Duration, Instant};

use profile_port_contracts::scaled;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::{
    PAUSE,
    proxy::Proxy,
    rows::Rows,
    support::{
        Server, fresh_database,
        stores::{create, idle_in_transaction, profile, start_on},
    },
};

/// In each direction.
const SLOWED_BY: Duration = Duration::from_millis(10);
const RESETS_PER_SECOND: u32 = 500;
const PROFILES: usize = 50;
/// Generous: the figure is 5 s.
const WHOLE_AGAIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn resets_leave_no_transaction_no_half_changeset_and_a_whole_pool() {
    let database = fresh_database().await;
    let proxy = Proxy::before(database.address(), SLOWED_BY).await;
    let server = start_on(&database, Some(proxy.address)).await;
    let mut ids = Vec::new();
    for index in 0..PROFILES {
        ids.push(create(&server, &stamped(&format!("base-{index}"))).await);
    }

    let count = scaled(30) * RESETS_PER_SECOND;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RESETS_PER_SECOND);
    let mut clients = JoinSet::new();
    for index in 0..count {
        ticks.tick().await;
        let stamp = format!("reset-{index}");
        let id = &ids[index as usize % PROFILES];
        let (line, key) = match index % 4 {
            0 => ("POST /api/v1/profiles".to_owned(), String::new()),
            1 => ("POST /api/v1/profiles".to_owned(), format!("idempotency-key: {stamp}\r\n")),
            2 => (format!("PUT /api/v1/profiles/{id}"), String::new()),
            _ => (format!("PATCH /api/v1/profiles/{id}"), String::new()),
        };
        let media_type = if index % 4 == 3 { "application/merge-patch+json" } else { "application/json" };
        let body = stamped(&stamp).to_string();
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{key}content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n");
        let address = server.address();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_zero_linger().expect("linger");
            stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
            // From before the first statement to after the commit.
            tokio::time::sleep(SLOWED_BY * (index * 7 % 13)).await;
        });
    }
    clients.join_all().await;
    let ended = Instant::now();
    eprintln!("{count} resets in {:.1?}", ended - began);

    let whole = loop {
        let gauges = server.client.get(server.url("/metrics")).send().await.expect("metrics").text().await.expect("text");
        let gauge = |name: &str| gauges.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        let (size, idle) = (gauge("db_pool_size").expect("a gauge"), gauge("db_pool_available").expect("a gauge"));
        if idle == size
            && gauge("db_pool_waiting") == Some(0)
            && idle_in_transaction(&database.url(), &database.name).await == "0"
        {
            break ended.elapsed();
        }
        assert!(ended.elapsed() < WHOLE_AGAIN, "{idle} of {size} connections are idle: {gauges}");
        tokio::time::sleep(PAUSE).await;
    };
    // More at once than there are connections, until all are served: a slow machine may need more than a deadline at first.
    let mut attempt = 0;
    loop {
        let mut creations = JoinSet::new();
        for index in 0..64 {
            let post = server.client.post(server.url("/api/v1/profiles")).json(&stamped(&format!("after-{attempt}-{index}")));
            creations.spawn(async move { post.send().await.expect("an answer").status() });
        }
        let statuses = creations.join_all().await;
        if statuses.iter().all(|status| *status == StatusCode::CREATED) {
            break;
        }
        assert!(ended.elapsed() < WHOLE_AGAIN, "{statuses:?}");
        attempt += 1;
    }
    eprintln!("the pool was whole after {whole:.1?}, and 64 creations after {:.1?}", ended.elapsed());

    // By one that isn't slowed.
    let changed = all_are_of_one_stamp(&start_on(&database, None).await).await;
    eprintln!("{changed} writes were carried out");
    assert!(changed > 0, "every reset came before its write");
    Rows::Postgres(database.url()).are_whole().await;
    assert_eq!(idle_in_transaction(&database.url(), &database.name).await, "0");
}

/// A document of which every part tells which write it is of.
fn stamped(stamp: &str) -> Value {
    let mut document = profile(stamp, &format!("{stamp}@example.com"));
    document["bio"] = json!(stamp);
    document["attributes"] = json!({"stamp": stamp, "nested": {"stamp": stamp}});
    document
}

/// Reads every profile, by pages and by what it serves; gives how many are of a write that was reset.
async fn all_are_of_one_stamp(server: &Server) -> usize {
    let (mut changed, mut cursor) = (0, String::new());
    loop {
        let page = server.get_json(&format!("/api/v1/profiles?limit=200{cursor}")).await;
        for item in page["items"].as_array().expect("items") {
            let stamp = item["name"].as_str().expect("a name");
            let content =
                json!({"name": item["name"], "email": item["email"], "bio": item["bio"], "attributes": item["attributes"]});
            assert_eq!(content, stamped(stamp));
            changed += usize::from(stamp.starts_with("reset-"));
            let found = server.get_json(&format!("/api/v1/profiles?attr.stamp={stamp}&email={stamp}@example.com")).await;
            assert_eq!(found["items"], json!([item]));
        }
        let Some(next) = page["next_cursor"].as_str() else { return changed };
        cursor = format!("&cursor={next}");
    }
}
