//! The queue that instances share.

use profile_rabbitmq::Address;

use super::{ConfigError, Source, shown};

/// `QUEUE_URI`.
pub(crate) struct Queue {
    pub(crate) address: Option<Address>,
}

impl Queue {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let allowed = "amqp://user:password@host:port/vhost, or amqps://… for an encrypted connection";
        let address = source.parse("QUEUE_URI", None, allowed, |text| Address::parse(text.trim()).ok().map(Some))?;
        Ok(Self { address })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        vec![("QUEUE_URI", shown(self.address.as_ref().map(|_| "(hidden)")))]
    }
}
