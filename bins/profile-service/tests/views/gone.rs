//! Clients that go away.

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::upstream::{Behaviour, Service, Upstream, id, reached};

const CONFIGURATION: &str = r#"
[sources.slow]
url = "http://ADDRESS/slow/{id}"
private_addresses = true
timeout = "60s"
[views.profile]
sources = ["slow"]
deadline = "60s"
"#;

#[tokio::test]
async fn whoever_leaves_ends_no_call_that_another_waits_for() {
    let upstream = Upstream::start().await;
    upstream.set("slow", Behaviour::Waits);
    let service = Service::start(&upstream, CONFIGURATION, &[]).await;
    let ask = async |number: usize| {
        let address = service.server.base_url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET /profile/{} HTTP/1.1\r\nhost: {address}\r\n\r\n", id(number));
        stream.write_all(request.as_bytes()).await.expect("it reads");
        stream
    };
    let first = ask(1).await;
    reached(upstream.asked.clone(), 1).await;
    let leaves = async {
        // Both are being answered, and the one that asks.
        until_in_flight(&service, 3).await;
        leave(first);
        until_in_flight(&service, 2).await;
        assert_eq!(*upstream.given_up.borrow(), 0, "the call was ended, though one waits for it");

        let third = ask(2).await;
        reached(upstream.asked.clone(), 2).await;
        leave(third);
        reached(upstream.given_up.clone(), 1).await;
        upstream.go();
    };
    let same = id(1);
    let (second, ()) = tokio::join!(service.profile(&same), leaves);
    assert_eq!(second.json(), json!({"id": id(1), "name": "slow", "slow": 1}));
    assert_eq!(*upstream.asked.borrow(), 2, "one flight for both");
}

/// As a client that was killed.
fn leave(stream: TcpStream) {
    stream.set_zero_linger().expect("linger");
    drop(stream);
}

async fn until_in_flight(service: &Service, count: usize) {
    let line = format!("http_requests_in_flight {count}");
    service.until("/metrics", |answer| answer.body.lines().any(|is| is == line)).await;
}

/// Its source may take longer than any client waits, and so may the request.
#[tokio::test]
async fn an_answer_comes_by_the_deadline_of_the_view() {
    let upstream = Upstream::start().await;
    upstream.set("slow", Behaviour::Hangs);
    let service = Service::start(&upstream, &CONFIGURATION.replace("deadline = \"60s\"", "deadline = \"200ms\""), &[]).await;
    let answer = service.profile(&id(1)).await;
    assert_eq!((answer.status, answer.unavailable.as_str()), (503, "slow"), "{answer:?}");
    reached(upstream.given_up.clone(), 1).await;
}
