//! A server that is killed, stopped, without memory, or without its queues: that costs time, and nothing else.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use profile_domain::TaskType;
use profile_port_contracts::rabbitmq::RabbitServer;
use profile_ports::{Deadline, Queue as _, QueueError, queue::QueueState};
use profile_rabbitmq::{RabbitQueue, RabbitSettings};
use tokio::task::JoinSet;

use crate::support::{
    CEILING, POLL, acknowledge_until, connected, consume, count, echo, message, next, publish, publish_until_taken, settings,
    until_connected,
};

/// What a hundred publications may take together that can't succeed; and what one may take, with a wide margin.
const SOON: Duration = Duration::from_secs(10);

/// A hundred publications in vain hold nobody up, and none is taken for a success.
async fn publish_in_vain(queue: &RabbitQueue) {
    let began = Instant::now();
    for _ in 0..100 {
        let (outcome, took) = publish(queue, 999).await;
        assert!(matches!(outcome, Err(QueueError::Unavailable(_) | QueueError::Unconfirmed)), "{outcome:?}");
        assert!(took < SOON, "one took {took:?}");
    }
    assert!(began.elapsed() < SOON, "a hundred took {:?}", began.elapsed());
}

async fn until_away(queue: &RabbitQueue) {
    let away = async {
        while queue.state() != QueueState::Away {
            queue.state_after(queue.state()).await;
        }
    };
    tokio::time::timeout(CEILING, away).await.expect("that it is away is noticed");
}

/// Waits until the server says this of a queue: its messages, those in hand included.
async fn until_it_has(server: &RabbitServer, queue: &str, messages: &str) {
    let began = Instant::now();
    loop {
        let list = server.control(&["list_queues", "--no-table-headers", "name", "messages"]).await;
        let line = list.lines().find_map(|line| line.split_once('\t').filter(|(name, _)| *name == queue));
        if line.is_some_and(|(_, count)| count.trim() == messages) {
            return;
        }
        assert!(began.elapsed() < CEILING, "{queue} doesn't have {messages}: {list}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_used_again_with_what_it_had() {
    let mut server = RabbitServer::start().await;
    let (queue, registry) = connected(settings(&server, &[echo()])).await;
    let mut consumer = consume(&queue, 1);
    for number in 0..3 {
        publish(&queue, number).await.0.expect("it is taken");
    }
    // One is done, one in hand, one waits.
    acknowledge_until(&mut *consumer, 0).await;
    let held = next(&mut *consumer).await;
    assert_eq!(*held.message(), message(1));

    server.write_down().await;
    server.kill().await;
    until_away(&queue).await;
    publish_in_vain(&queue).await;
    server.start_again().await;
    until_connected(&queue).await;
    held.acknowledge();
    publish_until_taken(&queue, 3).await;
    // The word about the one in hand was lost with the connection: it comes again.
    let mut came = Vec::new();
    while came.len() < 3 {
        let delivery = next(&mut *consumer).await;
        let known = (1..4).find(|number| message(*number) == *delivery.message());
        came.extend(known.filter(|number| !came.contains(number)));
        delivery.acknowledge();
    }
    assert!(count(&registry, "queue_connections_total") >= 4, "two connections, twice");
    queue.close(Deadline::within(CEILING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_deleted_is_declared_again() {
    let server = RabbitServer::start().await;
    let settings = settings(&server, &[echo()]);
    let name = format!("{}.echo.v1", settings.exchange);
    let (queue, registry) = connected(settings.clone()).await;

    // Nobody consumes: the publisher learns it by what comes back, and mends it.
    publish(&queue, 1).await.0.expect("it is taken");
    server.control(&["delete_queue", &name]).await;
    let (outcome, _) = publish(&queue, 2).await;
    assert!(matches!(outcome, Err(QueueError::Unroutable)), "{outcome:?}");
    assert_eq!(count(&registry, "queue_returned_total"), 1);
    publish_until_taken(&queue, 3).await;
    let mut consumer = consume(&queue, 1);
    acknowledge_until(&mut *consumer, 3).await;

    // Somebody consumes, who is told, and mends it as well.
    server.control(&["delete_queue", &name]).await;
    publish_until_taken(&queue, 4).await;
    acknowledge_until(&mut *consumer, 4).await;

    // What makes no sense is put aside, and what comes after it is given.
    let other = Connection::connect(&server.uri(), ConnectionProperties::default()).await.expect("a connection");
    let channel = other.create_channel().await.expect("a channel");
    let (exchange, options) = (settings.exchange.as_str(), BasicPublishOptions::default());
    channel.basic_publish(exchange.into(), "echo".into(), options, b"{", BasicProperties::default()).await.expect("sent");
    publish(&queue, 5).await.0.expect("it is taken");
    acknowledge_until(&mut *consumer, 5).await;
    until_it_has(&server, &format!("{exchange}.dead.v1"), "1").await;
    assert_eq!(count(&registry, "queue_unreadable_total"), 1);
    queue.close(Deadline::within(CEILING)).await;

    returns_are_told_from_what_was_taken(&server).await;
}

/// Confirmations come for many messages at once; still each is told what became of its own.
async fn returns_are_told_from_what_was_taken(server: &RabbitServer) {
    let (queue, registry) = connected(RabbitSettings { publish_timeout: CEILING, ..settings(server, &[echo()]) }).await;
    let unknown = TaskType::parse("unheard-of").expect("a type");
    let mut batches = JoinSet::new();
    for batch in 0..16_u32 {
        let (queue, unknown) = (Arc::clone(&queue), unknown.clone());
        batches.spawn(async move {
            let mut messages: Vec<_> = (0..50).map(|number| message(batch * 50 + number)).collect();
            for index in (0..50).filter(|index| (index * 7 + batch).is_multiple_of(3)) {
                messages[index as usize].task_type = unknown.clone();
            }
            for (message, outcome) in messages.iter().zip(queue.publish(&messages, Deadline::within(CEILING)).await) {
                match outcome {
                    Ok(()) => assert_eq!(message.task_type, echo()),
                    Err(QueueError::Unroutable) => assert_eq!(message.task_type, unknown),
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
    }
    batches.join_all().await;
    let (confirmed, returned) = (count(&registry, "queue_confirmed_total"), count(&registry, "queue_returned_total"));
    assert_eq!(confirmed + returned, 16 * 50);
    queue.close(Deadline::within(CEILING)).await;
}

/// Threads that drive connections, in this process.
fn drivers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_stopped_holds_nobody_up() {
    let server = RabbitServer::start().await;
    // Nothing but the bound of a publication ends its wait.
    let patient = Duration::from_mins(10);
    let patient = RabbitSettings { silence: patient, heartbeat: patient, ..settings(&server, &[echo()]) };
    let (queue, _) = connected(patient).await;
    publish(&queue, 1).await.0.expect("it is taken");
    server.stop();
    publish_in_vain(&queue).await;
    assert_eq!(queue.state(), QueueState::Away);
    server.go_on();
    // The same connection, once it answers.
    until_connected(&queue).await;
    publish_until_taken(&queue, 2).await;
    acknowledge_until(&mut *consume(&queue, 10), 2).await;
    queue.close(Deadline::within(CEILING)).await;

    // Stopped for longer, the connection is given up, and attempts to make another leave nothing behind.
    let brief = Duration::from_millis(500);
    let (queue, registry) =
        connected(RabbitSettings { silence: brief, connect_timeout: brief, ..settings(&server, &[echo()]) }).await;
    server.stop();
    let attempts = async {
        publish_in_vain(&queue).await;
        until_away(&queue).await;
        // Each attempt ends half a second after it began.
        while drivers() > 0 {
            tokio::time::sleep(POLL).await;
        }
        for _ in 0..3 {
            while drivers() == 0 {
                tokio::time::sleep(POLL).await;
            }
            while drivers() > 0 {
                tokio::time::sleep(POLL).await;
            }
        }
    };
    tokio::time::timeout(CEILING, attempts).await.expect("what was begun in vain ends");
    server.go_on();
    until_connected(&queue).await;
    publish_until_taken(&queue, 3).await;
    acknowledge_until(&mut *consume(&queue, 10), 3).await;
    assert!(count(&registry, "queue_connections_total") >= 2, "it is another connection");
    // Closing one that doesn't answer takes no longer than was said.
    server.stop();
    let began = Instant::now();
    queue.close(Deadline::within(Duration::from_secs(1))).await;
    assert!(began.elapsed() < SOON, "closing took {:?}", began.elapsed());
    server.go_on();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_takes_nothing_and_gives_what_it_has() {
    let server = RabbitServer::start().await;
    let settings = settings(&server, &[echo()]);
    let name = format!("{}.echo.v1", settings.exchange);
    let (queue, _) = connected(settings).await;
    for number in 0..20 {
        publish(&queue, number).await.0.expect("it is taken");
    }
    server.starve().await;
    // It says so to those who publish; the first learns it in vain.
    let blocked = async {
        while queue.state() != QueueState::Blocked {
            let (outcome, _) = publish(&queue, 100).await;
            // It may have got through just before.
            if outcome.is_ok() {
                acknowledge_until(&mut *consume(&queue, 1), 100).await;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(CEILING, blocked).await.expect("the blockade is noticed");
    publish_in_vain(&queue).await;
    // What it has comes, and its acknowledgement gets through.
    let mut consumer = consume(&queue, 5);
    let began = Instant::now();
    let mut came = 0;
    while came < 20 {
        assert!(began.elapsed() < CEILING, "{came} came");
        let Ok(delivery) = tokio::time::timeout(CEILING, consumer.next()).await else { break };
        delivery.expect("the queue is open").acknowledge();
        came += 1;
    }
    until_it_has(&server, &name, "0").await;
    assert_eq!(queue.state(), QueueState::Blocked);

    server.feed().await;
    until_connected(&queue).await;
    publish_until_taken(&queue, 200).await;
    acknowledge_until(&mut *consumer, 200).await;
    queue.close(Deadline::within(CEILING)).await;
}
