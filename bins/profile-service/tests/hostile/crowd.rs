//! Connections by the hundred that are slow or never read, all kinds at once; in a soak two thousand, at the times that production
//! has.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use profile_port_contracts::scaled;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::OwnedReadHalf,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    raw::{all_are_closed, connect, hurried, is_unharmed, resident},
    support::{
        CEILING, Server,
        stores::{Backend, create, on_both_stores},
    },
};

on_both_stores!(slow_connections_are_closed_and_harm_nobody);

const CONNECTIONS: u32 = 2_000;
/// What they may cost in all.
const ALLOWED: u64 = 64 << 20;
/// How long one after the other comes.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long not a byte may move, and a head or a small body may take.
const STALL: Duration = Duration::from_secs(15);
/// Over which imports and exports must have moved enough.
const WINDOW: Duration = Duration::from_secs(30);

const GET: &str = "GET /livez HTTP/1.1\r\nHost: canary7f3a\r\n\r\n";
const LIST: &str = "GET /api/v1/profiles?limit=200 HTTP/1.1\r\nHost: canary7f3a\r\n\r\n";
/// A large answer that costs nothing to make; a hundred are more than the system takes for a peer that doesn't read.
const DOCUMENT: &str = "GET /openapi.json HTTP/1.1\r\nHost: canary7f3a\r\n\r\n";
const POST: &str = "POST /api/v1/profiles HTTP/1.1\r\nHost: canary7f3a\r\nContent-Type: application/json\r\n";
const IMPORT: &str = "POST /api/v1/profiles/import HTTP/1.1\r\nHost: canary7f3a\r\nContent-Type: application/x-ndjson\r\n";

/// How a connection behaves.
#[derive(Clone)]
struct Slow {
    /// What it sends at once.
    first: String,
    /// And then over and over, each after a pause.
    drop: &'static str,
    reads: Reads,
    /// When the service closes it at the latest.
    limit: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    All,
    Slowly,
    Nothing,
}

fn kinds() -> Vec<Slow> {
    let sends = |first: String, drop, limit| Slow { first, drop, reads: Reads::All, limit };
    let reads = |first: String, drop, reads, limit| Slow { first, drop, reads, limit };
    vec![
        sends(String::new(), "", STALL),
        sends("GET /livez HTTP/1.1\r\nHo".into(), "", STALL),
        sends("GET /livez HTTP/1.1\r\nX".into(), "X", STALL),
        sends(GET.into(), "", STALL),
        sends(format!("{GET}GET /livez HTTP/1.1\r\nHo"), "", STALL),
        sends(format!("{GET}GET /livez HTTP/1.1\r\nX"), "X", STALL),
        sends(format!("{GET}\r\n"), "\r\n", STALL),
        sends(format!("{POST}Content-Length: 100\r\n\r\n{{"), "", STALL),
        sends(format!("{POST}Content-Length: 10000\r\n\r\n{{"), " ", STALL),
        sends(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", STALL),
        sends(format!("{GET}{POST}Transfer-Encoding: chunked\r\n\r\n1;"), "a", STALL),
        sends(format!("{IMPORT}Content-Length: 100\r\n\r\n{{"), "", STALL),
        sends(format!("{IMPORT}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", WINDOW),
        sends(format!("{IMPORT}Transfer-Encoding: chunked\r\n\r\n1;"), "a", WINDOW),
        reads(LIST.into(), "", Reads::Nothing, STALL),
        reads(DOCUMENT.repeat(100), DOCUMENT, Reads::Nothing, STALL),
        reads(DOCUMENT.repeat(100), "", Reads::Slowly, WINDOW),
    ]
}

async fn slow_connections_are_closed_and_harm_nobody(backend: Backend) {
    let full = scaled(CONNECTIONS) >= CONNECTIONS;
    let variables = backend.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (server, hurry) =
        if full { (Server::start(&variables).await, 1) } else { (hurried(&variables).await, crate::raw::HURRY) };
    let server = Arc::new(server);
    for number in 0..200 {
        let email = format!("n{number}@example.com");
        create(&server, &json!({"name": "N", "email": email, "bio": "x".repeat(1_000)})).await;
    }
    let mut alone = Others::begin(&server);
    // A quantile that a hundredth decides needs thousands.
    sleep(Duration::from_secs(if full { 20 } else { 1 })).await;
    alone.end().await;

    let mut among = Others::begin(&server);
    let kinds = kinds();
    let mut connections = JoinSet::new();
    for index in 0..scaled(CONNECTIONS) as usize {
        let (slow, address) = (kinds[index % kinds.len()].clone(), server.address());
        connections.spawn(async move {
            let took = be_slow(address, slow).await;
            (index, took)
        });
        sleep(ARRIVAL / CONNECTIONS).await;
    }
    let mut longest = vec![Duration::ZERO; kinds.len()];
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            let (index, took) = ended.expect("it ends by itself");
            let longest = &mut longest[index % kinds.len()];
            *longest = took.max(*longest);
        }
    };
    timeout(WINDOW / hurry + CEILING, ended).await.expect("each connection is closed");
    among.end().await;
    all_are_closed(&server, CEILING).await;

    eprintln!("the longest of each kind: {longest:.1?}");
    let grown = among.peak.saturating_sub(alone.peak);
    eprintln!("{} connections: {} KiB more at most", scaled(CONNECTIONS), grown >> 10);
    for (what, others) in [("alone", &alone), ("among them", &among)] {
        let (count, median) = (others.times.len(), others.quantile(0.5));
        eprintln!("others {what}: median {median:.1?}, p99 {:.1?} of {count}", others.quantile(0.99));
    }
    for (kind, longest) in kinds.iter().zip(longest) {
        // After the last answer, if there is one, the service waits a moment for its reader.
        let limit = kind.limit / hurry + if full { Duration::from_secs(3) } else { CEILING };
        assert!(longest < limit, "{:?} lived for {longest:?}", kind.first.get(..100).unwrap_or(&kind.first));
    }
    assert!(grown <= ALLOWED, "{grown} bytes more");
    if full {
        let (alone, among) = (alone.quantile(0.99), among.quantile(0.99));
        assert!(among <= alone * 2 + Duration::from_millis(2), "{among:?} instead of {alone:?}");
    }
    is_unharmed(&server).await;
}

/// How long it takes the service to end the connection, or not to take what is sent any more.
async fn be_slow(address: SocketAddr, slow: Slow) -> Duration {
    let (reader, mut writer) = connect(address).await.into_split();
    let began = Instant::now();
    let writing = async {
        if writer.write_all(slow.first.as_bytes()).await.is_err() {
            return;
        }
        if slow.drop.is_empty() && slow.reads != Reads::Nothing {
            std::future::pending::<()>().await;
        }
        // Who doesn't read learns of the end by writing, even if nobody reads that either.
        let drop = if slow.drop.is_empty() { "\r\n" } else { slow.drop };
        while timeout(WINDOW, writer.write_all(drop.as_bytes())).await.is_ok_and(|sent| sent.is_ok()) {
            sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = read(reader, slow.reads) => {}
        () = writing => {}
    }
    began.elapsed()
}

async fn read(mut reader: OwnedReadHalf, reads: Reads) {
    match reads {
        Reads::All => drop(reader.read_to_end(&mut Vec::new()).await),
        Reads::Slowly => {
            while reader.read(&mut [0; 250]).await.is_ok_and(|read| read > 0) {
                sleep(Duration::from_millis(300)).await;
            }
        }
        Reads::Nothing => std::future::pending().await,
    }
}

/// Others, who are served one after the other; and what the service costs meanwhile.
struct Others {
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<(Vec<Duration>, u64)>>,
    /// What each request took, in order of size.
    times: Vec<Duration>,
    /// The most memory that was in use.
    peak: u64,
}

impl Others {
    fn begin(server: &Arc<Server>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let serving = tokio::spawn({
            let (server, stop) = (Arc::clone(server), Arc::clone(&stop));
            async move {
                let (mut times, mut peak) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    let answer = server.client.get(server.url("/api/v1/profiles?limit=1")).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.expect("a whole body");
                    times.push(sent.elapsed());
                    peak = resident(&server).max(peak);
                    sleep(Duration::from_millis(5)).await;
                }
                (times, peak)
            }
        });
        Self { stop, serving: Some(serving), times: Vec::new(), peak: 0 }
    }

    async fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let serving = self.serving.take().expect("it ends once");
        (self.times, self.peak) = serving.await.expect("each is served");
        self.times.sort();
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    fn quantile(&self, quantile: f64) -> Duration {
        self.times[(self.times.len() as f64 * quantile) as usize]
    }
}
