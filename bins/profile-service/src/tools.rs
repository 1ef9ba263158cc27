//! What work on tasks uses beside the store: the queue, the folder of exports, the client that calls others.

use std::sync::Arc;

use anyhow::Context;
use profile_application::WorkTools;
use profile_objects::ObjectFolder;
use profile_ports::{Objects, Queue, webhooks::Webhooks};
use profile_rabbitmq::RabbitQueue;
use profile_upstream::{
    guard::{Guarded, Reach},
    webhooks::{CALL_TIMEOUT, HttpWebhooks},
};

use crate::config::Config;

/// Bytes of one export, at most.
const MAX_OBJECT_BYTES: u64 = 64 << 30;

/// As configuration names them. Without a queue the rows alone say what is due.
pub(crate) fn tools(config: &Config, queue: Option<Arc<RabbitQueue>>) -> anyhow::Result<WorkTools> {
    let folder = config.tasks.data_dir.join("objects");
    let objects = ObjectFolder::open(&folder, MAX_OBJECT_BYTES)
        .with_context(|| format!("DATA_DIR can't be used: {} can't be made", folder.display()))?;
    let reach = if config.tasks.webhooks_to_private { Reach::Private } else { Reach::Public };
    let client = Guarded::new(reach).context("no client for webhooks can be made")?;
    let webhooks = HttpWebhooks::new(client, config.tasks.webhook_secrets.clone(), CALL_TIMEOUT);
    Ok(WorkTools {
        queue: queue.map(|queue| queue as Arc<dyn Queue>),
        objects: Some(Arc::new(objects) as Arc<dyn Objects>),
        webhooks: Some(Arc::new(webhooks) as Arc<dyn Webhooks>),
    })
}
