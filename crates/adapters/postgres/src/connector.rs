//! Connections of a pool: made on the runtime given, whoever asks for them, and none to a server that was replaced.

use std::{ops::Deref, sync::Arc};

use deadpool::managed::{self, Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use profile_ports::StoreError;
use tokio::runtime::Handle;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    server::Server,
    succession::{Reign, Succession},
};

pub(crate) type Connections = managed::Pool<Connector>;

/// A connection, with the reign in which it was made; none of a replica's.
pub(crate) struct Backend {
    client: ClientWrapper,
    pub(crate) reign: Option<Reign>,
}

impl Deref for Backend {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

/// To whom.
#[derive(Clone)]
pub(crate) enum To {
    /// Whoever takes the writes.
    Primary(Arc<Succession>),
    /// One server, whoever it is: what it answers is judged by itself.
    Replica(Arc<Server>),
}

/// Makes connections on one runtime. Callers come from others, which may end or be busy while the connection lives.
pub(crate) struct Connector {
    pub(crate) to: To,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) runtime: Handle,
}

impl Manager for Connector {
    type Type = Backend;
    type Error = StoreError;

    async fn create(&self) -> Result<Backend, StoreError> {
        let (to, tls, runtime) = (self.to.clone(), self.tls.clone(), self.runtime.clone());
        let connecting = async move {
            let ((client, driver), reign) = match to {
                To::Primary(succession) => {
                    let (connected, reign) = succession.connect(tls, &runtime).await?;
                    (connected, Some(reign))
                }
                To::Replica(server) => (server.connect(tls, &runtime).await?, None),
            };
            Ok(Backend { client: ClientWrapper::new(client, driver.detach()), reign })
        };
        // It fails only if its runtime is shut down.
        AbortOnDropHandle::new(self.runtime.spawn(connecting))
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(error.into())))
    }

    /// A look at whether the connection was closed, or its server replaced. A question to the server could hang.
    async fn recycle(&self, backend: &mut Backend, _: &Metrics) -> RecycleResult<StoreError> {
        let replaced = match (&self.to, backend.reign) {
            (To::Primary(succession), Some(reign)) => !succession.is_current(reign),
            _ => false,
        };
        if backend.is_closed() || replaced {
            return Err(RecycleError::message("the connection is closed, or its server was replaced"));
        }
        Ok(())
    }
}
