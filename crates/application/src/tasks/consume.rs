//! What the queue says, claimed by name. A message is acknowledged once its row is claimed, or can't be.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use profile_domain::{TaskId, TaskType, TenantId};
use profile_ports::{
    Claim, Deadline,
    queue::{Consumer, Delivery},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{
    ending::Ended,
    kind::Kind,
    worker::{BATCH, POLL, STEP},
};
use crate::App;

/// How long messages are gathered to be claimed together.
const GATHER: Duration = Duration::from_millis(2);

impl App {
    /// Runs what the queue gives of one kind, as long as there is room.
    pub(super) async fn consume(
        &self,
        kind: &'static Kind,
        task_type: &TaskType,
        room: Arc<Semaphore>,
        ends: mpsc::UnboundedSender<Ended>,
    ) {
        let Some(queue) = &self.work.queue else { return };
        let most =
            NonZeroU16::try_from(u16::try_from(self.work.settings.concurrency).unwrap_or(u16::MAX)).unwrap_or(NonZeroU16::MIN);
        let mut consumer = queue.consume(task_type, most);
        loop {
            let gathered = tokio::select! {
                gathered = gather(&mut *consumer, &room) => gathered,
                () = self.work.stopped() => return,
            };
            let Some((deliveries, permits)) = gathered else { return };
            let only: Vec<(TenantId, TaskId)> =
                deliveries.iter().map(|delivery| (delivery.message().tenant.clone(), delivery.message().task)).collect();
            let settings = &self.work.settings;
            let claim = Claim {
                task_type,
                only: &only,
                limit: only.len(),
                worker: &settings.worker,
                lease: settings.lease,
                patience: Duration::ZERO,
            };
            match self.store.claim(claim, Deadline::within(STEP)).await {
                Ok(claims) => {
                    deliveries.into_iter().for_each(Delivery::acknowledge);
                    self.run_claimed(kind, claims.tasks, permits, &ends);
                }
                Err(error) => {
                    self.work.trouble(&error);
                    drop(deliveries);
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

/// Messages, and room for each of them. `None` once the queue was closed.
async fn gather(consumer: &mut dyn Consumer, room: &Arc<Semaphore>) -> Option<(Vec<Delivery>, Vec<OwnedSemaphorePermit>)> {
    // In this order: room that waits for messages would be missing to those who look at the rows.
    let mut deliveries = vec![consumer.next().await?];
    let mut permits = vec![Arc::clone(room).acquire_owned().await.ok()?];
    while deliveries.len() < BATCH
        && let Ok(permit) = Arc::clone(room).try_acquire_owned()
        && let Ok(Some(delivery)) = timeout(GATHER, consumer.next()).await
    {
        permits.push(permit);
        deliveries.push(delivery);
    }
    Some((deliveries, permits))
}
