//! Requests by the thousand behind one that is being answered.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::raw::{connect, is_unharmed, resident};

const CONNECTIONS: usize = 3;
/// So much that no buffer on the way holds it.
const BYTES: usize = 20_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn they_cost_neither_memory_nor_time_while_nobody_reads() {
    // The real times, so that there is something to measure in.
    let server = crate::support::Server::start(&[]).await;
    let bio = "x".repeat(4_000);
    let line = |number| json!({"name": "N", "email": format!("n{number}@example.com"), "bio": bio}).to_string() + "\n";
    let lines: String = (0..BYTES / 4_000).map(line).collect();
    let import = server.client.post(server.url("/api/v1/profiles/import")).header("content-type", "application/x-ndjson");
    let outcomes = import.body(lines).send().await.expect("an answer").text().await.expect("a whole body");
    assert!(outcomes.contains("\"complete\":true"), "{outcomes}");

    let before = resident(&server);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (reader, mut writer) = connect(server.address()).await.into_split();
        let sending = tokio::spawn(async move {
            let _ = writer.write_all(b"GET /api/v1/profiles/export HTTP/1.1\r\nHost: x\r\n\r\n").await;
            // For as long as they are taken.
            while writer.write_all("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000).as_bytes()).await.is_ok() {}
        });
        connections.push((reader, sending));
    }
    // Until nothing moves any more; a busy loop never comes to rest.
    let mut spent = server.cpu_time();
    let began = std::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = server.cpu_time();
        if now.saturating_sub(spent) < Duration::from_millis(200) {
            break;
        }
        spent = now;
        assert!(began.elapsed() < Duration::from_secs(10), "it is busy with what nobody reads");
    }
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for {CONNECTIONS} connections");
    for (_, sending) in connections {
        sending.abort();
    }
    is_unharmed(&server).await;
}
