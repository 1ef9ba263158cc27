//! Consuming: what RabbitMQ delivers lies in a buffer, bounded by the prefetch, until someone asks for it.

use std::{
    collections::VecDeque,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::join_all};
use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions},
    types::FieldTable,
};
use parking_lot::Mutex;
use profile_domain::TaskType;
use profile_ports::queue::{Consumer, Delivery, Message, Settled};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    Shared,
    kept::{Role, jittered},
    link::{Link, LinkError},
    message, topology,
};

/// Before consuming again what couldn't be, or was taken away.
const PAUSE: Duration = Duration::from_millis(200);
/// After so long without a message it consumes anew. RabbitMQ 3.10 doesn't always tell a consumer that its quorum queue was deleted,
/// and where that was declared again gives it messages that it doesn't get.
const IDLE: Duration = Duration::from_secs(30);
/// Words to the server that go together.
const WORDS: usize = 256;

/// What became of a delivery.
struct Word {
    acker: Acker,
    settled: Settled,
}

/// What came and wasn't asked for yet.
#[derive(Default)]
struct Buffer {
    waiting: Mutex<VecDeque<(Message, Acker)>>,
    /// Given and not settled.
    in_hand: AtomicUsize,
    /// Rung when something came.
    bell: Notify,
    /// Rung when the consumer is dropped.
    gone: Notify,
}

pub(crate) struct RabbitConsumer {
    shared: Arc<Shared>,
    buffer: Arc<Buffer>,
    words: mpsc::UnboundedSender<Word>,
    paused: Option<watch::Receiver<bool>>,
}

impl RabbitConsumer {
    pub(crate) fn start(shared: &Arc<Shared>, task_type: &TaskType, prefetch: NonZeroU16) -> Self {
        let buffer = Arc::new(Buffer::default());
        let (words, said) = mpsc::unbounded_channel();
        let paused = shared.paused.get(task_type).map(watch::Sender::subscribe);
        if let Some(paused) = paused.clone() {
            let task_type = task_type.clone();
            let (shared, buffer) = (Arc::clone(shared), Arc::clone(&buffer));
            let driver = Driver { shared, task_type, prefetch, buffer, said, paused, channel: None };
            let (consumers, runtime) = (driver.shared.consumers.clone(), driver.shared.runtime.clone());
            consumers.spawn_on(driver.run(), &runtime);
        }
        Self { shared: Arc::clone(shared), buffer, words, paused }
    }

    fn take(&self) -> Option<Delivery> {
        if self.paused.as_ref().is_none_or(|paused| *paused.borrow()) {
            return None;
        }
        let (message, acker) = self.buffer.waiting.lock().pop_front()?;
        self.shared.metrics.consumed.with_label_values(&[message.task_type.as_str()]).inc();
        self.buffer.in_hand.fetch_add(1, Ordering::AcqRel);
        let (words, buffer) = (self.words.clone(), Arc::clone(&self.buffer));
        Some(Delivery::new(message, move |settled| {
            buffer.in_hand.fetch_sub(1, Ordering::AcqRel);
            // Nobody listens any more where the channel is gone, and with it what was delivered over it.
            let _ = words.send(Word { acker, settled });
        }))
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            // From here on it hears the bell, so that nothing is missed between the look and the wait.
            let bell = self.buffer.bell.notified();
            if self.shared.closing.is_cancelled() {
                return None;
            }
            if let Some(delivery) = self.take() {
                return Some(delivery);
            }
            tokio::select! {
                () = self.shared.closing.cancelled() => return None,
                () = bell => {}
            }
        }
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        self.buffer.gone.notify_one();
    }
}

/// What a driver hears of.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is gone at once")]
enum Event {
    Ends(End),
    Came(Option<lapin::Result<lapin::message::Delivery>>),
    Said,
    Idle,
}

/// Why consuming ended.
enum End {
    /// A pause begins; the channel is kept for those in hand.
    Paused,
    /// The consumer was dropped; the same.
    Dropped,
    /// The queue is closed.
    Closed,
    /// The connection, the channel or the queue is gone, or may be.
    Lost,
}

struct Driver {
    shared: Arc<Shared>,
    task_type: TaskType,
    prefetch: NonZeroU16,
    buffer: Arc<Buffer>,
    said: mpsc::UnboundedReceiver<Word>,
    paused: watch::Receiver<bool>,
    /// Where deliveries come from, and must be settled. Dropped, it is closed, and what wasn't settled comes again.
    channel: Option<(Arc<Link>, Channel)>,
}

impl Driver {
    async fn run(mut self) {
        let mut links = self.shared.slot(Role::Consuming).watch();
        loop {
            let shared = Arc::clone(&self.shared);
            let buffer = Arc::clone(&self.buffer);
            let link = tokio::select! {
                () = shared.closing.cancelled() => return,
                () = buffer.gone.notified() => return self.settle_the_rest().await,
                link = self.wanted(&mut links) => link,
            };
            match self.consume(&link).await {
                Ok(End::Closed) => return,
                Ok(End::Dropped) => return self.settle_the_rest().await,
                Ok(End::Paused) => {}
                Ok(End::Lost) => {
                    self.leave_channel().await;
                    tokio::time::sleep(jittered(PAUSE)).await;
                }
                Err(error) => {
                    self.leave_channel().await;
                    let cause = profile_ports::causes(&error);
                    tracing::warn!("task.type" = %self.task_type, cause, "a queue can't be consumed; trying again");
                    tokio::time::sleep(jittered(PAUSE)).await;
                }
            }
        }
    }

    /// A connection, once there is one and there is no pause. What is said meanwhile is passed on.
    async fn wanted(&mut self, links: &mut watch::Receiver<Option<Arc<Link>>>) -> Arc<Link> {
        loop {
            let link = links.borrow_and_update().clone();
            if let (Some(link), false) = (link, *self.paused.borrow_and_update()) {
                return link;
            }
            tokio::select! {
                _ = links.changed() => {}
                _ = self.paused.changed() => {}
                Some(word) = self.said.recv() => say(&self.shared, &self.task_type, vec![word]).await,
            }
        }
    }

    async fn consume(&mut self, link: &Arc<Link>) -> Result<End, LinkError> {
        let mut renewed = self.shared.renewed.subscribe();
        // It may have been deleted, which is how the last time may have ended.
        topology::declare_type(link, &self.shared.settings, &self.task_type).await?;
        let channel = self.channel(link).await?;
        let queue = topology::queue_name(&self.shared.settings, &self.task_type);
        let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut deliveries = link.within(consuming).await?;
        let mut words = Vec::new();
        let end = loop {
            let event = tokio::select! {
                () = self.shared.closing.cancelled() => Event::Ends(End::Closed),
                () = self.buffer.gone.notified() => Event::Ends(End::Dropped),
                _ = self.paused.wait_for(|paused| *paused) => Event::Ends(End::Paused),
                delivery = deliveries.next() => Event::Came(delivery),
                _ = self.said.recv_many(&mut words, WORDS) => Event::Said,
                _ = renewed.changed() => Event::Ends(End::Lost),
                () = tokio::time::sleep(IDLE) => Event::Idle,
            };
            match event {
                Event::Ends(end) => break end,
                Event::Came(Some(Ok(delivery))) => self.keep(delivery).await,
                Event::Came(Some(Err(_)) | None) => break End::Lost,
                Event::Said => say(&self.shared, &self.task_type, std::mem::take(&mut words)).await,
                // What is in hand can be settled over this channel only.
                Event::Idle if self.buffer.in_hand.load(Ordering::Acquire) == 0 => break End::Lost,
                Event::Idle => {}
            }
        };
        match end {
            End::Paused | End::Dropped => {
                let tag = deliveries.tag();
                let ended = async {
                    channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
                    // What was on its way came before the word that nothing does any more.
                    while let Some(Ok(delivery)) = deliveries.next().await {
                        self.keep(delivery).await;
                    }
                    Ok(())
                };
                if link.within(ended).await.is_err() {
                    self.leave_channel().await;
                }
            }
            End::Lost | End::Closed => {}
        }
        self.give_back().await;
        Ok(end)
    }

    /// Closes it, and everything of it comes again. Said, and not left to whoever drops it last: a request that wasn't answered in
    /// time may yet be, and would go on holding messages that nobody takes.
    async fn leave_channel(&mut self) {
        if let Some((link, channel)) = self.channel.take() {
            let _ = link.within(channel.close(200, "left".into())).await;
        }
    }

    /// The one that there is, for deliveries of before a pause must be settled where they came from; or a new one.
    async fn channel(&mut self, link: &Arc<Link>) -> Result<Channel, LinkError> {
        if let Some((of, channel)) = &self.channel
            && Arc::ptr_eq(of, link)
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        self.leave_channel().await;
        let channel = link.channel().await?;
        self.channel = Some((Arc::clone(link), channel.clone()));
        link.within(channel.basic_qos(self.prefetch.get(), BasicQosOptions::default())).await?;
        Ok(channel)
    }

    async fn keep(&self, delivery: lapin::message::Delivery) {
        let Some(message) = message::read(&self.task_type, &delivery.data) else {
            self.shared.metrics.unreadable.with_label_values(&[self.task_type.as_str()]).inc();
            tracing::warn!("task.type" = %self.task_type, "a message makes no sense; it goes to the dead letters");
            let _ = delivery.acker.reject(BasicRejectOptions { requeue: false }).await;
            return;
        };
        self.buffer.waiting.lock().push_back((message, delivery.acker));
        self.buffer.bell.notify_waiters();
    }

    /// Gives back what came and nobody has asked for, and passes on what was said.
    async fn give_back(&mut self) {
        let waiting = std::mem::take(&mut *self.buffer.waiting.lock());
        let mut words: Vec<Word> = waiting.into_iter().map(|(_, acker)| Word { acker, settled: Settled::Back }).collect();
        while let Ok(word) = self.said.try_recv() {
            words.push(word);
        }
        say(&self.shared, &self.task_type, words).await;
    }

    /// The consumer is gone, and what it gave may still be in hand: each is settled by whoever has it.
    async fn settle_the_rest(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                () = shared.closing.cancelled() => return,
                word = self.said.recv() => match word {
                    Some(word) => say(&self.shared, &self.task_type, vec![word]).await,
                    None => return,
                }
            }
        }
    }
}

/// Tells the server. Where that fails the connection is gone, and the messages come again.
async fn say(shared: &Shared, task_type: &TaskType, words: Vec<Word>) {
    let said = join_all(words.into_iter().map(async |Word { acker, settled }| match settled {
        Settled::Done => acker.ack(BasicAckOptions::default()).await.is_ok_and(|acknowledged| acknowledged),
        Settled::Back => {
            let _ = acker.nack(BasicNackOptions { requeue: true, multiple: false }).await;
            false
        }
    }));
    // Longer it can't take, unless the server reads nothing.
    let said = tokio::time::timeout(shared.settings.connect_timeout, said).await.unwrap_or_default();
    let acknowledged = said.into_iter().filter(|acknowledged| *acknowledged).count();
    shared.metrics.acknowledged.with_label_values(&[task_type.as_str()]).inc_by(acknowledged as u64);
}
