//! More than one request on a connection: each in its turn, and each head in its time.

use std::{net::TcpListener, time::Duration};

use actix_web::rt::{
    net::TcpStream,
    spawn,
    time::{sleep, timeout},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Api;

const CEILING: Duration = Duration::from_secs(20);
const REQUEST: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

async fn connect(api: &Api) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(profile_http::serve(listener, None, api.service.clone(), 1).unwrap());
    TcpStream::connect(address).await.unwrap()
}

/// Idle connections live for longer than any test.
fn patient() -> Api {
    Api::with(|settings| {
        settings.keep_alive = Duration::from_mins(10);
        settings.head_timeout = HEAD_TIMEOUT;
    })
}

/// Reads until so many answers have begun.
async fn answers(stream: &mut TcpStream, count: usize) -> String {
    let mut text = Vec::new();
    while String::from_utf8_lossy(&text).matches("HTTP/1.1 ").count() < count {
        let read = timeout(CEILING, stream.read_buf(&mut text)).await.expect("an answer").unwrap();
        assert!(read > 0, "the connection ended");
    }
    String::from_utf8(text).unwrap()
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
    let body = r#"{"name":"Ada","email":"ada@example.com"}"#;
    let post = format!(
        "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let round =
        format!("{REQUEST}{post}HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n{chunked}");
    let text = format!("{}GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", round.repeat(20));
    for size in [text.len(), 1000, 97] {
        let (mut reader, mut writer) = connect(&patient()).await.into_split();
        let pieces = text.clone();
        spawn(async move {
            for piece in pieces.as_bytes().chunks(size) {
                writer.write_all(piece).await.unwrap();
                actix_web::rt::task::yield_now().await;
            }
            // Its end must not end what is answered still.
            sleep(CEILING).await;
            drop(writer);
        });
        let mut answers = Vec::new();
        timeout(CEILING, reader.read_to_end(&mut answers)).await.expect("the connection ends").unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let statuses: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
        let expected: Vec<&str> = (0..20)
            .flat_map(|round| ["200", if round == 0 { "201" } else { "409" }, "200", "404", "409"])
            .chain(["200"])
            .collect();
        assert_eq!(statuses, expected, "in pieces of {size}");
    }
}

#[actix_web::test]
async fn the_head_of_every_request_has_its_time() {
    for beginning in ["GET /li", "\r\n", "GET /livez HTTP/1.1\r\nHost: x\r\n"] {
        // Begun with what comes before it, after that, or drop by drop.
        for requests in [REQUEST.repeat(3), REQUEST.to_owned()] {
            let mut stream = connect(&patient()).await;
            stream.write_all(format!("{requests}{beginning}").as_bytes()).await.unwrap();
            let mut text = Vec::new();
            let _ = timeout(CEILING, stream.read_to_end(&mut text)).await.expect("the connection ends");
            assert_eq!(String::from_utf8(text).unwrap().matches("HTTP/1.1 200").count(), requests.len() / REQUEST.len());
        }
        let mut stream = connect(&patient()).await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        answers(&mut stream, 1).await;
        let dripping = async {
            let drops = beginning.bytes().chain(std::iter::repeat(b'X'));
            for drop in drops {
                if stream.write_all(&[drop]).await.is_err() {
                    return;
                }
                sleep(HEAD_TIMEOUT / 20).await;
            }
        };
        timeout(CEILING, dripping).await.expect("the connection ends");
    }
}

#[actix_web::test]
async fn between_requests_and_within_bodies_the_time_of_heads_does_not_count() {
    let mut stream = connect(&patient()).await;
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    answers(&mut stream, 1).await;
    sleep(HEAD_TIMEOUT * 2).await;
    let body = r#"{"name":"Ada","email":"ada@example.com"}"#;
    let head = format!(
        "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(10) {
        sleep(HEAD_TIMEOUT / 2).await;
        stream.write_all(piece).await.unwrap();
    }
    assert!(answers(&mut stream, 1).await.contains("HTTP/1.1 201 "));
}

#[actix_web::test]
async fn a_head_that_is_too_large_is_told_so() {
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(140_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(40_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}", "X-Header: a\r\n".repeat(10_000)),
    ] {
        for before in ["", REQUEST] {
            let (mut reader, mut writer) = connect(&patient()).await.into_split();
            let bytes = format!("{before}{head}");
            // What isn't read any more may end the sending with a reset.
            spawn(async move { writer.write_all(bytes.as_bytes()).await });
            let mut text = Vec::new();
            let _ = timeout(CEILING, reader.read_to_end(&mut text)).await.expect("the connection ends");
            let text = String::from_utf8(text).unwrap();
            assert!(text[text.rfind("HTTP/1.1 ").unwrap()..].starts_with("HTTP/1.1 431 "), "{text}");
        }
    }
}
