//! The whole contract of a queue, in this process.

use std::sync::Arc;

use async_trait::async_trait;
use profile_domain::TaskType;
use profile_memory::MemoryQueue;
use profile_port_contracts::QueueFixture;
use profile_ports::Queue;

struct MemoryFixture(Arc<MemoryQueue>);

#[async_trait]
impl QueueFixture for MemoryFixture {
    async fn fresh(types: &[TaskType], room: usize) -> Self {
        Self(Arc::new(MemoryQueue::new(types, room, &prometheus::Registry::new()).expect("an empty registry")))
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.0) as Arc<dyn Queue>
    }

    async fn elsewhere(&self) -> Option<Arc<dyn Queue>> {
        None
    }
}

profile_port_contracts::queue_contract!(MemoryFixture);
