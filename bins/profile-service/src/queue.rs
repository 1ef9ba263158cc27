//! Which queue tells workers what is due.

use std::sync::Arc;

use profile_application::task_types;
use profile_rabbitmq::{RabbitQueue, RabbitSettings};
use prometheus::Registry;

use crate::config::Config;

/// RabbitMQ where configuration names it. It is connected to in the background: the service starts and works without.
pub(crate) fn start(config: &Config, registry: &Registry) -> anyhow::Result<Option<Arc<RabbitQueue>>> {
    let Some(address) = config.queue.address.clone() else { return Ok(None) };
    let queue = RabbitQueue::start(RabbitSettings::new(address, task_types()), registry)?;
    Ok(Some(Arc::new(queue)))
}
