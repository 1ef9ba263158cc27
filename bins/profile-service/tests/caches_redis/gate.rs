//! Stands between an instance and a server, and may be shut.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What becomes of what comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Each piece is passed on so late.
    Late(Duration),
    /// Nothing is passed on, and nothing is refused, as if cables were cut; what came meanwhile is passed on afterwards.
    Silent,
    /// All connections are closed, and new ones at once.
    Shut,
}

/// A listener before a server. It ends with the test's runtime.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Gate {
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, target, seen.clone()));
            }
        });
        Self { address, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Shut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (near.into_split(), far.into_split());
    let (there, back) = (way.clone(), way.clone());
    // Whichever ends first ends both.
    tokio::select! {
        () = pass(from_client, to_server, there) => {}
        () = pass(from_server, to_client, back) => {}
        _ = way.wait_for(|way| *way == Way::Shut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(length) = from.read(&mut buffer).await.ok().filter(|length| *length > 0) {
        let now = *way.borrow();
        if let Way::Late(delay) = now {
            tokio::time::sleep(delay).await;
        }
        let open = |way: &Way| !matches!(way, Way::Silent | Way::Shut);
        if way.wait_for(open).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
