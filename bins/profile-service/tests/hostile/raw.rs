//! Connections without an HTTP client, and what the process costs meanwhile.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{CEILING, Server, canary::CANARY};

/// Times are a fifth of what they are in production.
pub(crate) const HURRY: u32 = 5;

/// A service that waits less long for slow clients, ready.
pub(crate) async fn hurried(variables: &[(&str, &str)]) -> Server {
    let variables = [variables, &[("LOG_LEVEL", "trace")]].concat();
    let server = Server::command(&["serve", "--hurry", &HURRY.to_string()], &variables).await;
    server.wait_for("/readyz", reqwest::StatusCode::OK).await;
    server
}

/// A connection whose own buffers hold little of what it doesn't read.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(address).await.expect("it listens")
}

/// Sends everything, as far as it is taken, and gives all that comes until the service ends the connection.
pub(crate) async fn exchange(address: SocketAddr, bytes: Vec<u8>) -> String {
    let (mut reader, mut writer) = connect(address).await.into_split();
    let sending = tokio::spawn(async move {
        // What isn't read any more may end this with a reset.
        let _ = writer.write_all(&bytes).await;
        // Its end must not end the connection before the service does.
        writer
    });
    let mut text = Vec::new();
    let ended = timeout(CEILING, reader.read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(ended.is_ok(), "the connection lives on: {text}");
    sending.abort();
    text
}

/// The statuses of answers, in order.
pub(crate) fn statuses(answers: &str) -> Vec<u16> {
    answers.match_indices("HTTP/1.1 ").filter_map(|(at, _)| answers.get(at + 9..at + 12)?.parse().ok()).collect()
}

/// Resident memory of the service, in bytes.
pub(crate) fn resident(server: &Server) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{}/statm", server.pid())).expect("the process runs");
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// Connections that the service has taken and not closed. Those to its database are not among them.
pub(crate) fn taken(server: &Server) -> usize {
    let port = format!(":{:04X}", server.address().port());
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", server.pid())).expect("the process runs");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Without an inode nobody has it open. 0A listens (proc(5)).
    lines.filter(|fields| fields[1].ends_with(&port) && fields[3] != "0A" && fields[9] != "0").count()
}

/// Waits until the service has closed every connection, for so long at most.
pub(crate) async fn all_are_closed(server: &Server, within: Duration) {
    let began = Instant::now();
    while taken(server) > 0 {
        assert!(began.elapsed() < within, "{} connections live on", taken(server));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What must hold after anything that was done to it: it serves, nothing panicked, nothing was its own fault, and it tells
/// nobody what it was sent.
pub(crate) async fn is_unharmed(server: &Server) {
    assert_eq!(server.status("/readyz").await, Some(reqwest::StatusCode::OK));
    tells_nothing(server).await;
    for line in server.log().lines() {
        // While it starts, it isn't ready.
        let fault = line.contains("\"http.status\":5") && !line.contains("\"/readyz\"");
        assert!(!line.contains("panicked") && !fault, "{line}");
    }
}

/// That neither log nor metrics hold what stands in everything that was sent.
pub(crate) async fn tells_nothing(server: &Server) {
    let metrics = server.client.get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("route=\"/readyz\""), "{metrics}");
    // Lines gather for a moment before they are written.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let log = server.log();
    assert!(log.contains("\"/readyz\""), "{log}");
    for line in metrics.lines().chain(log.lines()) {
        assert!(!line.to_lowercase().contains(CANARY), "{line}");
    }
}
