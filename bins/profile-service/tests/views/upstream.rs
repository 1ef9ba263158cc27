//! Sources on loopback: `/{source}/{id}`, each behaving as it was told, and a service that asks them.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{CEILING, Server};

const POLL: Duration = Duration::from_millis(10);

/// What a source does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Answers as it should: its own name, as `name` and as a field.
    Well,
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// A reset instead of an answer.
    Resets,
    /// Nothing, ever.
    Hangs,
    /// A head, half a body, and nothing more.
    HangsInBody,
    /// A byte now and then.
    Drips,
    /// A body that has no end.
    Endless,
    /// As `Well`, once it is let go.
    Waits,
}

/// Counts of one test's sources.
#[derive(Default)]
struct Seen {
    behaviours: HashMap<String, Behaviour>,
    heads: Vec<String>,
}

/// Sources of a test's own.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// How many requests came, and how many of those that got nothing were given up by who asked.
    pub(crate) asked: watch::Receiver<usize>,
    pub(crate) given_up: watch::Receiver<usize>,
    go: watch::Sender<bool>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (asked_in, asked) = watch::channel(0);
        let (gone_in, given_up) = watch::channel(0);
        let (go, going) = watch::channel(false);
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, asked, gone, going) = (Arc::clone(&shared), asked_in.clone(), gone_in.clone(), going.clone());
                tokio::spawn(serve(stream, seen, asked, gone, going));
            }
        });
        Self { address, seen, asked, given_up, go }
    }

    pub(crate) fn set(&self, source: &str, behaviour: Behaviour) {
        self.seen.lock().expect("no panic").behaviours.insert(source.to_owned(), behaviour);
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").heads.clone()
    }

    /// Lets those go that wait.
    pub(crate) fn go(&self) {
        self.go.send_replace(true);
    }
}

/// Waits until a count is reached.
pub(crate) async fn reached(mut count: watch::Receiver<usize>, wanted: usize) {
    let waiting = count.wait_for(|count| *count >= wanted);
    let reached = tokio::time::timeout(CEILING, waiting).await;
    reached.unwrap_or_else(|_| panic!("{wanted} weren't reached")).expect("the sources live");
}

fn well(source: &str) -> Vec<u8> {
    let body = json!({"name": source, source: 1}).to_string();
    raw("200 OK", body.as_bytes())
}

/// An answer as it should be made, whatever is in it.
pub(crate) fn raw(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    asked: watch::Sender<usize>,
    gone: watch::Sender<usize>,
    mut going: watch::Receiver<bool>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).expect("text");
    let source = head.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
    let behaviour = {
        let mut seen = seen.lock().expect("no panic");
        seen.heads.push(head);
        seen.behaviours.get(&source).cloned().unwrap_or(Behaviour::Well)
    };
    asked.send_modify(|count| *count += 1);
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    match behaviour {
        Behaviour::Well => drop(stream.write_all(&well(&source)).await),
        Behaviour::Raw(bytes) => drop(stream.write_all(&bytes).await),
        Behaviour::Resets => drop(stream.set_zero_linger()),
        Behaviour::Hangs => until_gone(&mut stream, &gone).await,
        Behaviour::HangsInBody => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"name\":").await;
            until_gone(&mut stream, &gone).await;
        }
        Behaviour::Drips => {
            let _ = stream.write_all(chunked).await;
            while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                tokio::time::sleep(POLL).await;
            }
        }
        Behaviour::Endless => {
            let _ = stream.write_all(chunked).await;
            let chunk = [b"10000\r\n\"".as_slice(), &vec![b'a'; (1 << 16) - 1], b"\r\n"].concat();
            // A gigabyte is as good as no end.
            for _ in 0..1 << 14 {
                if stream.write_all(&chunk).await.is_err() {
                    break;
                }
            }
        }
        Behaviour::Waits => {
            let go = async {
                let _ = going.wait_for(|go| *go).await;
            };
            let goes = tokio::select! {
                () = go => true,
                () = until_gone(&mut stream, &gone) => false,
            };
            if goes {
                let _ = stream.write_all(&well(&source)).await;
            }
        }
    }
}

async fn until_gone(stream: &mut TcpStream, gone: &watch::Sender<usize>) {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.unwrap_or(0) > 0 {}
    gone.send_modify(|count| *count += 1);
}

/// A service that asks sources, by a file of its own.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Where `ADDRESS` stands in the configuration, the sources are.
    pub(crate) async fn start(upstream: &Upstream, configuration: &str, variables: &[(&str, &str)]) -> Self {
        let folder = crate::support::folder();
        let file = folder.path().join("views.toml");
        fs::write(&file, configuration.replace("ADDRESS", &upstream.address.to_string())).expect("a file");
        let path = file.to_str().expect("a path").to_owned();
        let variables = [&[("REQUEST_TIMEOUT", "60s")], variables].concat();
        let server = Server::command(&["serve", "--config", &path], &variables).await;
        server.wait_for("/readyz", StatusCode::OK).await;
        // Caches take nothing until they have followed the feed once.
        let began = Instant::now();
        while health(&server).await["checks"]["caches"].to_string().contains("not_used") {
            assert!(began.elapsed() < CEILING, "the cache isn't used: {}", server.log());
            tokio::time::sleep(POLL).await;
        }
        Self { server, file, _folder: folder }
    }

    pub(crate) async fn get(&self, path: &str, tenant: &str) -> Answer {
        let request = self.server.client.get(self.server.url(path)).header("X-Tenant-ID", tenant);
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// A view of a profile.
    pub(crate) async fn profile(&self, id: &str) -> Answer {
        self.get(&format!("/profile/{id}"), "default").await
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.get(path, "default").await;
            if wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < CEILING, "{answer:?}: {}", self.server.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a line of the log has this so many times.
    pub(crate) async fn logged(&self, text: &str, times: usize) {
        let began = Instant::now();
        while self.server.log().matches(text).count() < times {
            assert!(began.elapsed() < CEILING, "{text:?} isn't in the log: {}", self.server.log());
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn health(server: &Server) -> Value {
    let answer = server.client.get(server.url("/health")).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) unavailable: String,
    pub(crate) cache_status: String,
}

impl Answer {
    async fn of(answer: Response) -> Self {
        let header =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
        Self {
            status: answer.status().as_u16(),
            unavailable: header("x-unavailable-sources"),
            cache_status: header("cache-status"),
            body: answer.text().await.expect("text"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Whether it was kept as one that lacks nothing: not for a second or less.
    pub(crate) fn is_kept_as_complete(&self) -> bool {
        self.cache_status.contains("hit; ttl=") && !self.cache_status.contains("ttl=0;") && !self.cache_status.contains("ttl=-")
    }
}

pub(crate) fn id(number: usize) -> String {
    format!("550e8400-e29b-41d4-a716-{number:012}")
}
