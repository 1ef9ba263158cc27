//! `profile-service cleanup`.

use profile_port_contracts::redis::RedisServer;

use crate::{
    instances::{create, read, redis_address, start_on, until_read},
    support::{fresh_database, run},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_entries_go_and_are_counted() {
    let (database, redis) = (fresh_database().await, RedisServer::start().await);
    let address = redis_address(&redis);
    let server = start_on(database.variables(), &[("REDIS_ADDRESS", &address), ("CACHE", "redis")]).await;
    let profile = create(&server, "ada").await;
    until_read(&server, &profile.path(), |read| read.is_from("redis")).await;
    let cleanup = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = run(&[&["cleanup"], arguments].concat(), variables);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let kept = (Some(0), "1 entries looked at on 1 servers, 0 deleted\n".to_owned(), String::new());
    assert_eq!(cleanup(&[], &[("REDIS_ADDRESS", &address)]), kept, "it isn't older than 4 h");
    let deleted = (Some(0), "1 entries looked at on 1 servers, 1 deleted\n".to_owned(), String::new());
    assert_eq!(cleanup(&["--older-than", "0s"], &[("REDIS_ADDRESS", &address)]), deleted);
    let missed = read(&server, &profile.path(), None).await.expect("an answer");
    assert_eq!(missed.cache, "profile-service; fwd=miss");

    let (code, _, said) = cleanup(&[], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("REDIS_ADDRESS is not set"), "{said}");
    drop(redis);
    let (code, _, said) = cleanup(&[], &[("REDIS_ADDRESS", &address)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Redis failed"), "{said}");
}
