//! What the adapter is told.

use std::{fmt, time::Duration};

use lapin::uri::{AMQPScheme, AMQPUri};
use profile_domain::TaskType;
use thiserror::Error;

/// How long a publication may hold its caller: longer than a healthy RabbitMQ needs to write to its disk, and short enough that
/// whoever waits in vain goes on unharmed.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where RabbitMQ is and as whom to speak to it. Prints neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// The text is no address of a RabbitMQ server.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not of the form amqp://user:password@host:port/vhost, or amqps://… for an encrypted connection")]
pub struct AddressError;

impl Address {
    /// From `amqp://user:password@host:port/vhost`, where what follows the slashes may be missing; `amqps` encrypts, and checks
    /// certificate and name. No path, or an empty one, is the virtual host `/`.
    ///
    /// # Errors
    /// [`AddressError`] says what is allowed. It doesn't hold the text, which may have a password in it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut uri: AMQPUri = text.parse().map_err(|_| AddressError)?;
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        Ok(Self(uri))
    }

    pub(crate) fn uri(&self, heartbeat: Duration) -> AMQPUri {
        let mut uri = self.0.clone();
        uri.query.heartbeat.get_or_insert(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        uri
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(AMQPUri { scheme, authority, vhost, .. }) = self;
        let scheme = if *scheme == AMQPScheme::AMQPS { "amqps" } else { "amqp" };
        let (host, port) = (&authority.host, authority.port);
        let vhost = vhost.replace('/', "%2f");
        write!(formatter, "{scheme}://{host}:{port}/{vhost}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where RabbitMQ is, what is in it, and how patient to be.
#[derive(Clone, Debug)]
pub struct RabbitSettings {
    /// Where it is.
    pub address: Address,
    /// Which types there are: each gets a queue.
    pub types: Vec<TaskType>,
    /// Messages of each type that may wait, about.
    pub room: u32,
    /// Names the exchange, and begins the names of all queues: for those who share one virtual host.
    pub exchange: String,
    /// How long a publication may hold its caller: [`PUBLISH_TIMEOUT`].
    pub publish_timeout: Duration,
    /// How long connecting and each step of preparing may take.
    pub connect_timeout: Duration,
    /// How long the server may leave a message unconfirmed, unless it says that it is blocked, before the connection is given up.
    pub silence: Duration,
    /// How often each side shows that it lives; gone is who doesn't for twice as long. The address may name another time.
    pub heartbeat: Duration,
}

impl RabbitSettings {
    /// What suits most.
    #[must_use]
    pub fn new(address: Address, types: Vec<TaskType>) -> Self {
        Self {
            address,
            types,
            room: 100_000,
            exchange: "profile.tasks".to_owned(),
            publish_timeout: PUBLISH_TIMEOUT,
            connect_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError};

    #[test]
    fn addresses_are_shown_without_who_and_how() {
        for (text, shown) in [
            ("amqp://ada:secret@queue.example:5673/tasks", "amqp://queue.example:5673/tasks"),
            ("amqps://ada:secret@queue.example", "amqps://queue.example:5671/%2f"),
            ("amqp://queue.example/", "amqp://queue.example:5672/%2f"),
            ("amqp://queue.example/%2f", "amqp://queue.example:5672/%2f"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.to_string().as_str(), format!("{address:?}").as_str()), (shown, shown));
        }
        for text in ["", "queue.example:5672", "http://queue.example", "amqp:queue.example"] {
            assert_eq!(Address::parse(text).expect_err(text), AddressError);
        }
    }
}
