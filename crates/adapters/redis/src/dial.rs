//! How a connection is made.

use std::{fs, sync::Arc, time::Duration};

use profile_ports::BoxError;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::settings::{Address, Mode, RedisSettings, SettingsError, Tls};

/// How long an attempt may take, with all that is asked on the way.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What is sent and not acknowledged for so long ends a connection, whatever waits for it.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Dialler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mode: Mode,
    addresses: Vec<Address>,
    username: Option<String>,
    password: Option<SecretString>,
    sentinel_password: Option<SecretString>,
    database: u8,
    encrypted: bool,
    roots: Option<Vec<u8>>,
}

impl Dialler {
    pub(crate) fn new(settings: &RedisSettings) -> Result<Self, SettingsError> {
        let unreadable =
            |from, reason: BoxError| SettingsError::RootCertificates { from: std::path::PathBuf::clone(from), reason };
        let roots = match &settings.tls {
            Tls::Verify { roots: Some(file) } => Some(fs::read(file).map_err(|error| unreadable(file, error.into()))?),
            Tls::Verify { roots: None } | Tls::Off => None,
        };
        let dialler = Self(Arc::new(Inner {
            mode: settings.mode.clone(),
            addresses: settings.addresses.clone(),
            username: settings.username.clone(),
            password: settings.password.clone(),
            sentinel_password: settings.sentinel_password.clone(),
            database: settings.database,
            encrypted: settings.tls != Tls::Off,
            roots,
        }));
        let first = settings.addresses.first().ok_or(SettingsError::NoAddress)?;
        if settings.mode == Mode::Cluster && settings.database != 0 {
            return Err(SettingsError::Database(settings.database));
        }
        if let Tls::Verify { roots: Some(file) } = &settings.tls {
            dialler.client(first, RedisConnectionInfo::default()).map_err(|error| unreadable(file, error.into()))?;
        }
        Ok(dialler)
    }

    /// Whoever is the server now: the first that answers, or the master that the sentinels name.
    pub(crate) async fn server(self) -> Result<MultiplexedConnection, RedisError> {
        let within = async {
            let mut last = RedisError::from((ErrorKind::Client, "no address answers"));
            for address in &self.0.addresses {
                let connection = match &self.0.mode {
                    Mode::Sentinel { master } => self.master(address, master).await,
                    Mode::Single | Mode::Cluster => self.connect(address).await,
                };
                match connection {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        // Each address has its share, so that one that is silent doesn't keep the others from being asked.
        tokio::time::timeout(CONNECT_TIMEOUT, within).await.unwrap_or_else(|_| Err(late()))
    }

    /// A node of a cluster.
    pub(crate) async fn node(self, address: Address) -> Result<MultiplexedConnection, RedisError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect(&address)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self, address: &Address) -> Result<MultiplexedConnection, RedisError> {
        let Inner { username, password, database, .. } = &*self.0;
        let mut info = RedisConnectionInfo::default().set_db((*database).into());
        if let Some(username) = username {
            info = info.set_username(username);
        }
        if let Some(password) = password {
            info = info.set_password(password.expose_secret());
        }
        self.open(address, info).await
    }

    /// The master whom a sentinel names, if it says so itself.
    async fn master(&self, sentinel: &Address, name: &str) -> Result<MultiplexedConnection, RedisError> {
        let mut info = RedisConnectionInfo::default();
        if let Some(password) = &self.0.sentinel_password {
            info = info.set_password(password.expose_secret());
        }
        let mut sentinel = self.open(sentinel, info).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(name);
        let named: Option<(String, u16)> = question.query_async(&mut sentinel).await?;
        let (host, port) = named.ok_or((ErrorKind::Client, "the sentinel knows no master of this name"))?;
        let mut master = self.connect(&Address { host, port }).await?;
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut master).await?;
        match role.first() {
            Some(redis::Value::BulkString(role)) if role == b"master" => Ok(master),
            _ => Err((ErrorKind::Client, "the server that the sentinel names is no master yet").into()),
        }
    }

    async fn open(&self, address: &Address, info: RedisConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        let share = CONNECT_TIMEOUT / u32::try_from(self.0.addresses.len()).unwrap_or(u32::MAX).max(1);
        // Operations have deadlines of their own, and so has all that is asked here: a timer more for each would be wasted.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(share)).set_response_timeout(None);
        let mut connection = self.client(address, info)?.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that is stopped takes connections and says nothing.
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    }

    fn client(&self, Address { host, port }: &Address, info: RedisConnectionInfo) -> Result<Client, RedisError> {
        let (host, port) = (host.clone(), *port);
        let address = if self.0.encrypted {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(USER_TIMEOUT);
        let info: ConnectionInfo = address.into_connection_info()?.set_redis_settings(info).set_tcp_settings(tcp);
        match &self.0.roots {
            Some(roots) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(roots.clone()) }),
            None => Client::open(info),
        }
    }
}

fn late() -> RedisError {
    RedisError::from((ErrorKind::Io, "no connection in time"))
}
