//! The whole contract of a queue, over one server, which takes longer to start than all cases to run.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use profile_domain::TaskType;
use profile_port_contracts::{QueueFixture, rabbitmq::RabbitServer};
use profile_ports::Queue;
use profile_rabbitmq::{RabbitQueue, RabbitSettings};
use tokio::sync::OnceCell;

use crate::support::{connected, settings};

static SERVER: OnceCell<RabbitServer> = OnceCell::const_new();

struct RabbitFixture {
    queue: Arc<RabbitQueue>,
    settings: RabbitSettings,
}

#[async_trait]
impl QueueFixture for RabbitFixture {
    async fn fresh(types: &[TaskType], room: usize) -> Self {
        let server = SERVER.get_or_init(RabbitServer::start).await;
        let settings = RabbitSettings {
            room: u32::try_from(room).expect("a small room"),
            // The contract is not about time, and the machine may be busy.
            publish_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(20),
            silence: Duration::from_secs(20),
            ..settings(server, types)
        };
        Self { queue: connected(settings.clone()).await.0, settings }
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue) as Arc<dyn Queue>
    }

    async fn elsewhere(&self) -> Option<Arc<dyn Queue>> {
        Some(connected(self.settings.clone()).await.0)
    }
}

profile_port_contracts::queue_contract!(RabbitFixture: together in rabbitmq_keeps_the_contract);
