//! Calls to listeners of our own: where a client connects, and where it doesn't.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use profile_upstream::guard::{Guarded, Reach, Refused};
use reqwest::{
    Method, Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers every request with these bytes, and counts connections.
async fn listener(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok() {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (address, connections)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine";

/// Answers as a name server under someone else's hand would: another address each time it is asked.
struct Rebinding(Vec<SocketAddr>, AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let asked = self.1.fetch_add(1, Ordering::SeqCst);
        let address = self.0[asked.min(self.0.len() - 1)];
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect(text)
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_unless_allowed() {
    let (address, connections) = listener(FINE).await;
    let to = url(&format!("http://localhost:{}/", address.port()));
    let public = Guarded::new(Reach::Public).expect("a client");
    let error = public.request(Method::GET, to.clone()).expect("a name").send().await.expect_err("it is refused");
    assert_eq!(Refused::in_error(&error), Some(Refused::Name));
    assert_eq!(connections.load(Ordering::SeqCst), 0, "it was connected to");

    let private = Guarded::new(Reach::Private).expect("a client");
    let answer = private.request(Method::GET, to).expect("a name").send().await.expect("it is allowed");
    assert_eq!(answer.text().await.expect("a body"), "fine");
}

#[tokio::test]
async fn a_name_is_not_resolved_again_after_it_was_checked() {
    let (address, connections) = listener(FINE).await;
    // First an address that may be connected to, though nobody is there; then the one that may not.
    let names = Arc::new(Rebinding(vec![SocketAddr::from(([192, 0, 1, 1], 9)), address], AtomicUsize::new(0)));
    let client = Guarded::resolving(Reach::Public, Arc::clone(&names) as Arc<dyn Resolve>).expect("a client");
    for _ in 0..2 {
        let call = client.request(Method::GET, url(&format!("http://rebinding.test:{}/", address.port()))).expect("a name");
        call.timeout(std::time::Duration::from_millis(300)).send().await.expect_err("nobody is there, or it is refused");
    }
    assert_eq!(names.1.load(Ordering::SeqCst), 2, "each call resolves once");
    assert_eq!(connections.load(Ordering::SeqCst), 0, "it was connected to");
}

#[tokio::test]
async fn redirects_are_answers() {
    let (target, connections) = listener(FINE).await;
    let moved = format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let (address, _) = listener(moved.leak()).await;
    let client = Guarded::new(Reach::Private).expect("a client");
    let answer =
        client.request(Method::GET, url(&format!("http://{address}/"))).expect("allowed").send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 302);
    assert_eq!(connections.load(Ordering::SeqCst), 0, "it was followed");
}
