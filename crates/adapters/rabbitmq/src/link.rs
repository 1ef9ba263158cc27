//! One connection, which ends when it is told to.
//!
//! lapin drives each by a thread of its own, which waits for the server as long as the socket is open: a server that was stopped
//! would keep the thread, and every attempt to reach it another one. So the socket is kept here as well, and shut when the
//! connection is given up.

use std::{io, net::Shutdown, os::fd::AsFd as _, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event,
    runtime::default_runtime,
    tcp::{AMQPUriTcpExt as _, OwnedTLSConfig},
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::timeout;

use crate::settings::RabbitSettings;

/// A look at the connection, where its events might have said nothing.
const LOOK: Duration = Duration::from_millis(500);

/// Why something didn't work.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// The server refused, or the connection broke.
    #[error(transparent)]
    Lapin(#[from] lapin::Error),
    /// It took too long.
    #[error("it didn't answer in time")]
    TimedOut,
}

/// A connection.
pub(crate) struct Link {
    connection: Connection,
    socket: Socket,
    patience: Duration,
}

#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

impl Socket {
    fn shut(&self) {
        if let Some(socket) = self.0.lock().take() {
            // Whoever has shut it already has done what is wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Shuts the socket of an attempt that nobody waits for any longer.
struct ShutOnDrop(Option<Socket>);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.shut();
        }
    }
}

impl Link {
    /// Connects, within the time that the settings give.
    pub(crate) async fn connect(settings: &RabbitSettings, name: &str) -> Result<Self, LinkError> {
        let socket = Socket::default();
        let mut guard = ShutOnDrop(Some(socket.clone()));
        let properties = ConnectionProperties::default().with_connection_name(format!("profile-service {name}").into());
        let patience = settings.connect_timeout;
        let connecting = Connection::connector(
            settings.address.uri(settings.heartbeat),
            default_runtime()?,
            {
                let socket = socket.clone();
                async move |uri, runtime| {
                    // This runs on the connection's own thread, which must not stay in it either.
                    let tls = OwnedTLSConfig::default();
                    let stream = timeout(patience, uri.connect_with_config_async(tls.as_ref(), &runtime));
                    let stream = stream.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                    let plain = match &stream {
                        AsyncTcpStream::Plain(plain) => plain.get_ref(),
                        AsyncTcpStream::Rustls(encrypted) => encrypted.get_ref().0.get_ref(),
                        _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
                    };
                    *socket.0.lock() = Some(plain.as_fd().try_clone_to_owned()?.into());
                    Ok(stream)
                }
            },
            properties,
        );
        let connection = timeout(patience, connecting).await.map_err(|_| LinkError::TimedOut)??;
        guard.0 = None;
        Ok(Self { connection, socket, patience })
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(crate) async fn channel(&self) -> Result<Channel, LinkError> {
        self.within(self.connection.create_channel()).await
    }

    /// No step may take longer than connecting.
    pub(crate) async fn within<T>(&self, step: impl Future<Output = lapin::Result<T>>) -> Result<T, LinkError> {
        Ok(timeout(self.patience, step).await.map_err(|_| LinkError::TimedOut)??)
    }

    /// Ends it at once. What waits for it fails.
    pub(crate) fn cut(&self) {
        self.socket.shut();
    }

    /// Ends it in good order, or at least in time.
    pub(crate) async fn close(&self) {
        let _ = self.within(self.connection.close(200, "closing".into())).await;
        self.cut();
    }

    /// Waits for its end, and says meanwhile when it is blocked and no longer.
    pub(crate) async fn watch(&self, mut blocked: impl FnMut(Option<&str>)) {
        let mut events = self.connection.events_listener();
        loop {
            let event = timeout(LOOK, events.next()).await;
            match event {
                Ok(Some(Event::ConnectionBlocked(reason))) => blocked(Some(&reason)),
                Ok(Some(Event::ConnectionUnblocked)) => blocked(None),
                Ok(None | Some(Event::Error(_))) => {}
                Ok(Some(_)) | Err(_) => {
                    // It may have been blocked before anyone listened.
                    blocked(self.is_blocked().then_some("as it was"));
                }
            }
            if !self.connection.status().connected() {
                return;
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}
