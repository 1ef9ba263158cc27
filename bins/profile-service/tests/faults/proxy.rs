//! Stands between the service and PostgreSQL: passes bytes on late, or cuts the connection at the worst moment.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A listener before a server. It ends with the test's runtime.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    trap: Arc<Mutex<Option<Trap>>>,
}

/// Where to cut, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// After the server has answered a `COMMIT`, which the service never hears.
    AnswerToCommit,
    /// After the server has answered whatever comes next.
    AnswerToAnything,
    /// When a `COMMIT` comes, which the server never hears.
    Commit,
}

/// A simple query as the service sends it: its tag, its length, its text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// The server is ready for more, outside a transaction.
const IDLE: &[u8] = b"Z\0\0\0\x05I";

impl Proxy {
    /// Passes each piece on after a while, in both directions.
    pub(crate) async fn before(target: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let trap = Arc::default();
        let proxy = Self { address, trap: Arc::clone(&trap) };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let trap = Arc::clone(&trap);
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
                    let ((from_client, to_client), (from_server, to_server)) = (near.into_split(), far.into_split());
                    let cut = AtomicBool::new(false);
                    // Whichever ends first ends both.
                    tokio::select! {
                        () = requests(from_client, to_server, delay, &trap, &cut) => {}
                        () = answers(from_server, to_client, delay, &cut) => {}
                    }
                });
            }
        });
        proxy
    }

    /// Cuts the next connection that comes to this point.
    pub(crate) fn set(&self, trap: Trap) {
        *lock(&self.trap) = Some(trap);
    }

    /// Whether a connection was cut since.
    pub(crate) fn has_sprung(&self) -> bool {
        lock(&self.trap).is_none()
    }
}

fn lock(trap: &Mutex<Option<Trap>>) -> MutexGuard<'_, Option<Trap>> {
    trap.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    trap: &Mutex<Option<Trap>>,
    cut: &AtomicBool,
) {
    let (mut buffer, mut tail) = (vec![0; 64 * 1024], Vec::new());
    while let Some(length) = from.read(&mut buffer).await.ok().filter(|length| *length > 0) {
        let commits = finds(&mut tail, &buffer[..length], COMMIT);
        if commits && lock(trap).take_if(|trap| *trap == Trap::Commit).is_some() {
            return;
        }
        let sprung = lock(trap).take_if(|trap| *trap == Trap::AnswerToAnything || *trap == Trap::AnswerToCommit && commits);
        cut.fetch_or(sprung.is_some(), Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, cut: &AtomicBool) {
    let (mut buffer, mut tail) = (vec![0; 64 * 1024], Vec::new());
    while let Some(length) = from.read(&mut buffer).await.ok().filter(|length| *length > 0) {
        let idle = finds(&mut tail, &buffer[..length], IDLE);
        if cut.load(Ordering::SeqCst) {
            // Not before the server is done: one that can't send its answers might stop before the commit.
            if idle {
                return;
            }
            continue;
        }
        tokio::time::sleep(delay).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Whether bytes come by in this piece, though they may have begun in the one before.
fn finds(tail: &mut Vec<u8>, piece: &[u8], wanted: &[u8]) -> bool {
    tail.extend_from_slice(piece);
    let found = tail.windows(wanted.len()).any(|window| window == wanted);
    tail.drain(..tail.len().saturating_sub(wanted.len() - 1));
    found
}
