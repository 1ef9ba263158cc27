//! Clients that misbehave during an import, and those beside them.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{command, people};
use crate::{
    stores::{Backend, on_both_stores},
    support::{CEILING, Server},
};

on_both_stores!(a_client_that_resets_leaves_whole_changesets, a_client_that_stops_reading_is_held_back_and_others_are_served);

/// Lines in one changeset.
const BATCH: u32 = 2_000;

/// An import whose body has just begun.
async fn begin(server: &Server) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
    let (reader, mut writer) = TcpStream::connect(server.address()).await.expect("it listens").into_split();
    let head = "POST /api/v1/profiles/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
                Content-Length: 100000000000\r\n\r\n";
    writer.write_all(head.as_bytes()).await.expect("it reads");
    (BufReader::new(reader), writer)
}

async fn a_client_that_resets_leaves_whole_changesets(backend: Backend) {
    for rest in [0, 1, BATCH + 1] {
        let server = backend.start().await;
        let before = command(&backend, &["export"]).lines().count();
        let (mut reader, mut writer) = begin(&server).await;
        let numbers = u32::try_from(before).expect("small");
        writer.write_all(people(numbers..numbers + BATCH).as_bytes()).await.expect("it reads");
        let mut line = String::new();
        while !line.contains("\"created\"") {
            line.clear();
            assert!(timeout(CEILING, reader.read_line(&mut line)).await.expect("an outcome").expect("a line") > 0);
        }
        writer.write_all(people(numbers + BATCH..numbers + BATCH + rest).as_bytes()).await.expect("it reads");
        // What was sent has unread answers, so that closing is a reset.
        drop((reader, writer));
        let began = std::time::Instant::now();
        while !server.log().contains("\"complete\":false") {
            assert!(began.elapsed() < CEILING, "it doesn't notice: {}", server.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What had begun is ended before the process is.
        server.stop().await;
        let after = command(&backend, &["export"]).lines().count() - before;
        assert!(after >= BATCH as usize && after.is_multiple_of(BATCH as usize), "{after} profiles are left of whole changesets");
    }
}

async fn a_client_that_stops_reading_is_held_back_and_others_are_served(backend: Backend) {
    let server = backend.start().await;
    let (mut reader, mut writer) = begin(&server).await;
    // The last buffer on the way has filled up when nothing can be sent any more for a while.
    let lines = format!("{{\"id\":\"no id\",\"name\":\"{}\"}}\n", "x".repeat(20)).repeat(1_000);
    let mut sent = 0_usize;
    while timeout(Duration::from_secs(2), writer.write_all(lines.as_bytes())).await.is_ok_and(|sent| sent.is_ok()) {
        sent += lines.len();
        assert!(sent < 1 << 30, "a gigabyte was taken from a client that doesn't read");
        if sent.is_multiple_of(lines.len() * 100) {
            assert_eq!(server.status("/readyz").await, Some(StatusCode::OK));
        }
    }
    let metrics = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let resident = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).expect("the metric");
    let resident: f64 = resident.parse().expect("a number");
    assert!(resident < 200e6, "{resident} bytes after {sent} were sent");
    assert_eq!(server.get_json("/api/v1/profiles").await["items"], serde_json::json!([]));
    // It goes on when it is read again.
    let mut taken = vec![0; 10_000_000];
    timeout(CEILING, reader.read_exact(&mut taken)).await.expect("more of the answer").expect("it is sent");
}
