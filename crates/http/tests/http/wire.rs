//! What shows only on a real connection.

use std::{net::TcpListener, time::Duration};

use actix_web::rt::{net::TcpStream, spawn, time::timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Api, Trouble};

/// Serves on a free port for as long as the test runs.
async fn connect(api: &Api) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(profile_http::serve(listener, None, api.service.clone(), 1).unwrap());
    TcpStream::connect(address).await.unwrap()
}

/// Everything until the server ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await.expect("the connection ends").unwrap();
    String::from_utf8(text).unwrap()
}

#[actix_web::test]
async fn a_body_that_pauses_too_long_is_a_problem_and_ends_the_connection() {
    let api = Api::with(|settings| {
        settings.body_pause = Duration::from_millis(50);
        settings.linger = Duration::from_millis(300);
    });
    let mut stream = connect(&api).await;
    let head = "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"REQUEST_TIMEOUT\""), "{answer}");
}

#[actix_web::test]
async fn a_body_that_drips_is_cut_off_in_total() {
    let api = Api::with(|settings| settings.body_timeout = Duration::from_millis(200));
    let stream = connect(&api).await;
    let (mut reader, mut writer) = stream.into_split();
    spawn(async move {
        let head =
            "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
        let mut sent = writer.write_all(head.as_bytes()).await;
        let mut drip = actix_web::rt::time::interval(Duration::from_millis(10));
        while sent.is_ok() {
            drip.tick().await;
            sent = writer.write_all(b" ").await;
        }
    });
    let mut answer = vec![0; 16];
    timeout(Duration::from_secs(20), reader.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
}

#[actix_web::test]
async fn a_chunked_body_that_never_ends_ends_with_the_answer() {
    let adjust = |settings: &mut profile_http::Settings| {
        settings.max_body_bytes = 10;
        settings.linger = Duration::from_millis(300);
    };
    let chunk = "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nb\r\n{          \r\n";
    for (request, status) in [
        ("POST /api/v1/profiles HTTP/1.1", "HTTP/1.1 413 "),
        ("GET /livez HTTP/1.1", "HTTP/1.1 200 "),
        ("POST /livez HTTP/1.1", "HTTP/1.1 405 "),
        ("POST /nothing HTTP/1.1", "HTTP/1.1 404 "),
    ] {
        let mut stream = connect(&Api::with(adjust)).await;
        stream.write_all(format!("{request}\r\nHost: x\r\n{chunk}").as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(status), "{request}: {answer}");
    }
}

#[actix_web::test]
async fn a_panic_ends_its_request_and_no_more() {
    let api = Api::new();
    api.trouble(Trouble::Panic);
    let mut stream = connect(&api).await;
    let request = "GET /api/v1/profiles HTTP/1.1\r\nHost: x\r\n\r\nHEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
    let second = answers.rfind("HTTP/1.1 200 ").expect("an answer to the second request");
    assert!(answers.ends_with("\r\n\r\n"), "HEAD has no body: {}", &answers[second..]);
    assert!(answers[second..].contains("content-length: 2\r\n"), "{}", &answers[second..]);
}
