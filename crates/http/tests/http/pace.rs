//! Imports on real connections: cut anywhere, ended early, too slow.

use std::{net::TcpListener, time::Duration};

use actix_web::rt::{net::TcpStream, spawn, time::timeout};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::support::{Api, Trouble};

const CEILING: Duration = Duration::from_secs(20);
const BATCH: usize = 2_000;
/// actix-http counts it from a clock that it reads twice a second; a time that is past by then is never noticed.
const LINGER: Duration = Duration::from_secs(1);

async fn connect(api: &Api) -> BufReader<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(profile_http::serve(listener, None, api.service.clone(), 1).unwrap());
    BufReader::new(TcpStream::connect(address).await.unwrap())
}

/// The head of an import with a chunked body.
async fn begin(api: &Api) -> BufReader<TcpStream> {
    let mut stream = connect(api).await;
    let head = "POST /api/v1/profiles/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn send(stream: &mut BufReader<TcpStream>, bytes: &[u8]) {
    let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    stream.write_all(&chunk).await.unwrap();
}

/// The next line of the answer that is JSON, sizes of chunks passed over.
async fn next(stream: &mut BufReader<TcpStream>) -> Value {
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        let read = timeout(CEILING, stream.read_line(&mut line)).await.expect("an answer").unwrap();
        assert!(read > 0, "the connection ended");
    }
    serde_json::from_str(&line).unwrap()
}

/// What comes until the server ends the connection.
async fn rest(stream: &mut BufReader<TcpStream>) -> String {
    let mut text = Vec::new();
    let _ = timeout(CEILING, stream.read_to_end(&mut text)).await.expect("the connection ends");
    String::from_utf8(text).unwrap()
}

fn person(number: usize) -> String {
    format!("{{\"id\":\"0199f3c2-0000-7000-8000-{number:012}\",\"name\":\"N\",\"email\":\"n{number}@example.com\"}}\n")
}

#[actix_web::test]
async fn lines_may_be_cut_anywhere() {
    let text = format!("{}\r\n{}{{\"name\":\"é👩\",\"email\":\"e@example.com\"}}", person(1), person(2));
    let mut expected = Vec::new();
    for size in [text.len(), 1, 2, 7, 64] {
        let mut stream = begin(&Api::new()).await;
        for piece in text.as_bytes().chunks(size) {
            send(&mut stream, piece).await;
        }
        send(&mut stream, b"").await;
        let mut outcomes = Vec::new();
        while outcomes.len() < 4 {
            let mut outcome = next(&mut stream).await;
            // The ids that are made differ.
            outcome["id"] = Value::Null;
            outcomes.push(outcome);
        }
        if expected.is_empty() {
            assert_eq!((&outcomes[2]["line"], &outcomes[3]["summary"]["created"]), (&json!(4), &json!(3)));
            expected = outcomes;
        } else {
            assert_eq!(outcomes, expected, "in pieces of {size} bytes");
        }
    }
}

#[actix_web::test]
async fn outcomes_come_while_lines_go_and_a_failure_midway_ends_with_a_summary() {
    for (trouble, code, detail) in [
        (Trouble::Unavailable, "UNAVAILABLE", "line 2001 and later ones were not written; try again"),
        (
            Trouble::OutcomeUnknown,
            "COMMIT_UNKNOWN",
            "lines 2001 to 2003 may or may not have been written, and later ones were not: import them again",
        ),
    ] {
        let api = Api::new();
        let mut stream = begin(&api).await;
        send(&mut stream, (0..BATCH).map(person).collect::<String>().as_bytes()).await;
        for line in 1..=BATCH {
            assert_eq!(next(&mut stream).await["line"], json!(line));
        }
        api.trouble(trouble);
        send(&mut stream, (0..3).map(person).collect::<String>().as_bytes()).await;
        send(&mut stream, b"").await;
        let summary = next(&mut stream).await["summary"].take();
        assert_eq!((&summary["complete"], &summary["lines"], &summary["created"]), (&json!(false), &json!(BATCH), &json!(BATCH)));
        assert_eq!(summary["error"], json!({"code": code, "message": detail, "retry_after": 1}));
    }
}

#[actix_web::test]
async fn a_service_that_stops_ends_an_import_between_changesets() {
    let api = Api::new();
    let mut stream = begin(&api).await;
    send(&mut stream, (0..BATCH).map(person).collect::<String>().as_bytes()).await;
    assert_eq!(next(&mut stream).await["line"], json!(1));
    api.service.operations.set_draining();
    send(&mut stream, (0..BATCH).map(person).collect::<String>().as_bytes()).await;
    let text = rest(&mut stream).await;
    assert!(text.contains("\"complete\":false") && text.contains("the service is stopping"), "{}", &text[text.len() - 400..]);
}

fn hurried() -> Api {
    Api::with(|settings| {
        settings.pace.stall = Duration::from_millis(300);
        settings.linger = LINGER;
    })
}

#[actix_web::test]
async fn a_body_that_stops_is_a_problem_or_ends_the_answer() {
    let mut stream = begin(&hurried()).await;
    send(&mut stream, person(1).as_bytes()).await;
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("\"code\":\"REQUEST_TIMEOUT\""), "{text}");

    let mut stream = begin(&hurried()).await;
    send(&mut stream, (0..=BATCH).map(person).collect::<String>().as_bytes()).await;
    let text = rest(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(
        text.contains(&format!("\"lines\":{BATCH}")) && text.contains("\"code\":\"REQUEST_TIMEOUT\""),
        "{}",
        &text[text.len() - 400..]
    );
}

#[actix_web::test]
async fn a_body_that_drips_is_cut_off_by_its_rate() {
    let api = Api::with(|settings| {
        settings.pace.window = Duration::from_secs(1);
        settings.linger = LINGER;
    });
    let (mut reader, mut writer) = begin(&api).await.into_inner().into_split();
    let drip = spawn(async move {
        let mut pause = actix_web::rt::time::interval(Duration::from_millis(10));
        // A hundred bytes a second.
        while writer.write_all(b"1\r\n \r\n").await.is_ok() {
            pause.tick().await;
        }
    });
    let mut answer = vec![0; 16];
    timeout(CEILING, reader.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    drip.abort();
}

#[actix_web::test]
async fn an_answer_that_nobody_reads_ends_the_connection() {
    let api = hurried();
    let mut stream = begin(&api).await;
    let lines = "{}\n".repeat(BATCH);
    let chunk = [format!("{:x}\r\n", lines.len()).as_bytes(), lines.as_bytes(), b"\r\n"].concat();
    let sending = async {
        // Held back once the answers fill every buffer on the way, and then cut off.
        while stream.write_all(&chunk).await.is_ok() {}
    };
    timeout(CEILING, sending).await.expect("the connection ends");
}
