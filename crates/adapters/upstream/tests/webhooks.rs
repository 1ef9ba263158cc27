//! Webhooks to listeners of our own: what reaches them, and what must not.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use profile_domain::{Moment, TenantId};
use profile_ports::{
    Deadline,
    webhooks::{Call, WebhookError, Webhooks as _},
};
use profile_upstream::{
    guard::{Guarded, Reach},
    webhooks::{CALL_TIMEOUT, HttpWebhooks, WebhookSecret},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLDER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FINE: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
/// Longer than anything takes on a busy machine.
const CEILING: Duration = Duration::from_mins(1);

/// A server that answers with the same bytes whatever comes, and keeps what came.
struct Canary {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Canary {
    async fn listen(ip: IpAddr, answer: String) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let canary = Self { address, connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (Arc::clone(&canary.connections), Arc::clone(&canary.requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests) = (answer.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"}") {
                        if stream.read_buf(&mut request).await.is_ok_and(|count| count == 0) {
                            return;
                        }
                    }
                    requests.lock().expect("no panic").push(String::from_utf8(request).expect("text"));
                    let _ = stream.write_all(answer.as_bytes()).await;
                    // The rest, if it is endless, in drops.
                    while answer.contains("chunked") && stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    if answer.is_empty() {
                        // It says nothing as long as somebody waits.
                        let _ = stream.read_buf(&mut Vec::new()).await;
                    }
                });
            }
        });
        canary
    }

    async fn here(answer: &str) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST.into(), answer.to_owned()).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook", self.address.port())
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect(name)
}

fn webhooks(client: Guarded, timeout: Duration) -> HttpWebhooks {
    let secrets = [SECRET, OLDER].map(|text| WebhookSecret::parse(text).expect("a secret")).into();
    HttpWebhooks::new(client, HashMap::from([(tenant("default"), secrets)]), timeout)
}

fn reaching(reach: Reach) -> HttpWebhooks {
    webhooks(Guarded::new(reach).expect("a client"), CALL_TIMEOUT)
}

async fn send(webhooks: &HttpWebhooks, url: &str) -> Result<(), WebhookError> {
    let tenant = tenant("default");
    let at = Moment::from_micros(1_614_265_330_999_999);
    let call = Call {
        tenant: &tenant,
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        url,
        at,
        body: Bytes::from_static(br#"{"test": 2432232314}"#),
    };
    webhooks.send(&call, Deadline::within(CEILING)).await
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let lines = request.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).unwrap_or_else(|| panic!("no {name}: {request}")).1
}

/// Verifies as a receiver would, with what Python has.
const VERIFY: &str = r"
import base64, hashlib, hmac, sys
secret, id, timestamp, signatures = sys.argv[1:]
signed = f'{id}.{timestamp}.'.encode() + sys.stdin.buffer.read()
expected = base64.b64encode(hmac.new(base64.b64decode(secret.removeprefix('whsec_')), signed, hashlib.sha256).digest()).decode()
sys.exit(not any(hmac.compare_digest(f'v1,{expected}', each) for each in signatures.split(' ')))
";

fn verifies(secret: &str, request: &str, body: &str) -> bool {
    let [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(request, name));
    let mut python = Command::new("python3");
    python.args(["-c", VERIFY, secret, id, timestamp, signatures]).stdin(Stdio::piped());
    let mut python = python.spawn().expect("Python runs");
    std::io::Write::write_all(&mut python.stdin.take().expect("piped"), body.as_bytes()).expect("it reads");
    python.wait().expect("it ends").success()
}

#[tokio::test]
async fn a_call_verifies_by_another_implementation() {
    let canary = Canary::here(FINE).await;
    send(&reaching(Reach::Private), &canary.url("127.0.0.1")).await.expect("it arrives");
    let requests = canary.requests.lock().expect("no panic");
    let request = requests.first().expect("one request");
    let body = r#"{"test": 2432232314}"#;
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && request.ends_with(body), "{request}");
    assert_eq!(header(request, "content-type"), "application/json");
    assert_eq!(header(request, "webhook-id"), "msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_eq!(header(request, "webhook-timestamp"), "1614265330");
    for secret in [SECRET, OLDER] {
        assert!(verifies(secret, request, body), "{request}");
        assert!(!verifies(secret, request, r#"{"test": 2432232315}"#), "another body");
    }
    assert!(!verifies("whsec_c29tZXRoaW5nIHNvbWV0aGluZyBzb21ldGhpbmc=", request, body), "another secret");
}

#[tokio::test]
async fn no_address_of_this_machine_or_its_networks_is_reached() {
    let canary = Canary::here(FINE).await;
    let six = Canary::listen("::1".parse().expect("an address"), FINE.to_owned()).await;
    let webhooks = reaching(Reach::Public);
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "[::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
    ];
    let urls = hosts.iter().map(|host| canary.url(host)).chain([six.url("[::1]"), six.url("localhost")]);
    for url in urls.chain(["file:///etc/passwd".to_owned(), "nonsense".to_owned()]) {
        let outcome = send(&webhooks, &url).await;
        assert!(matches!(outcome, Err(WebhookError::Forbidden(_))), "{url}: {outcome:?}");
        assert!(!outcome.is_err_and(|error| error.may_pass()), "{url} is no use trying again");
        if !url.contains("localhost") {
            assert!(matches!(webhooks.check(&tenant("default"), &url), Err(WebhookError::Forbidden(_))), "{url}");
        }
    }
    assert_eq!((canary.connections(), six.connections()), (0, 0), "nothing has connected");
    // The same addresses where they are allowed: it is the rule that keeps them out.
    for url in [canary.url("127.0.0.1"), canary.url("2130706433"), canary.url("[::ffff:127.0.0.1]"), six.url("[::1]")] {
        send(&reaching(Reach::Private), &url).await.expect(&url);
    }
}

/// Answers as a name server under someone else's hand would: another address each time it is asked.
struct Rebinding(Vec<SocketAddr>, AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let asked = self.1.fetch_add(1, Ordering::SeqCst);
        let address = self.0[asked.min(self.0.len() - 1)];
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_reaches_nothing() {
    let canary = Canary::here(FINE).await;
    let names = Arc::new(Rebinding(vec![SocketAddr::from(([8, 8, 8, 8], 0)), canary.address], AtomicUsize::new(0)));
    // Whoever looks first finds nothing wrong.
    let first: Vec<_> = names.resolve("hook.example".parse().expect("a name")).await.expect("an address").collect();
    assert!(Reach::Public.allows(first[0].ip()));
    let webhooks = webhooks(Guarded::resolving(Reach::Public, names).expect("a client"), CALL_TIMEOUT);
    let url = canary.url("hook.example");
    webhooks.check(&tenant("default"), &url).expect("a name may be called");
    let outcome = send(&webhooks, &url).await;
    assert!(matches!(outcome, Err(WebhookError::Forbidden(_))), "{outcome:?}");
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_no_way() {
    let canary = Canary::here(FINE).await;
    for status in [301, 302, 303, 307, 308] {
        let url = canary.url("127.0.0.1");
        let answer = format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let redirecting = Canary::here(&answer).await;
        let outcome = send(&reaching(Reach::Private), &redirecting.url("127.0.0.1")).await;
        assert!(matches!(outcome, Err(WebhookError::Status(found)) if found == status), "{outcome:?}");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_never_ends_takes_neither_time_nor_memory() {
    let endless = Canary::here("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let began = Instant::now();
    send(&reaching(Reach::Private), &endless.url("127.0.0.1")).await.expect("its status is enough");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());

    let silent = Canary::here("").await;
    let brief = webhooks(Guarded::new(Reach::Private).expect("a client"), Duration::from_millis(200));
    let outcome = send(&brief, &silent.url("127.0.0.1")).await;
    assert!(matches!(outcome, Err(WebhookError::TimedOut)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn failures_are_told_apart() {
    for (status, again) in [(400, true), (404, true), (410, false), (429, true), (500, true)] {
        let canary = Canary::here(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
        let error = send(&reaching(Reach::Private), &canary.url("127.0.0.1")).await.expect_err("no success");
        assert!(matches!(error, WebhookError::Status(found) if found == status), "{error:?}");
        assert_eq!(error.may_pass(), again, "{status}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let error = send(&reaching(Reach::Private), &format!("http://{gone}/a?token=secret")).await.expect_err("nobody is there");
    assert!(matches!(error, WebhookError::Unreachable(_)) && error.may_pass(), "{error:?}");
    assert!(!profile_ports::causes(&error).contains("secret"), "{}", profile_ports::causes(&error));

    let other = tenant("other");
    let webhooks = reaching(Reach::Private);
    assert!(matches!(webhooks.check(&other, "https://hook.example/"), Err(WebhookError::NoSecret)));
    let call = Call { tenant: &other, id: "msg_1", url: "https://hook.example/", at: Moment::from_micros(0), body: Bytes::new() };
    assert!(matches!(webhooks.send(&call, Deadline::within(CEILING)).await, Err(WebhookError::NoSecret)));
}
