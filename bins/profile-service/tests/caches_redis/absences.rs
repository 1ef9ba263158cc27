//! What doesn't exist is remembered, too: not beyond its creation, and not without bound.

use futures_util::{StreamExt as _, stream};
use profile_port_contracts::scaled;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    instances::{Pair, import, metric, random_id, read, redis_address, start_on, token},
    support::{Server, fresh_database},
};

/// At once.
const CLIENTS: usize = 4;
/// As many as are remembered, in one instance.
const ABSENCES: f64 = 10_000.0;

fn path(id: &str) -> String {
    format!("/api/v1/profiles/{id}")
}

async fn status(server: &Server, id: &str, token: Option<&str>) -> StatusCode {
    read(server, &path(id), token).await.expect("an answer").status
}

/// As only an import creates what can be asked for before, and only a change of one profile gives a token, it is created and
/// then changed.
async fn create_after_404([first, second]: [&Server; 2]) {
    let id = random_id();
    for server in [first, second] {
        assert_eq!(status(server, &id, None).await, StatusCode::NOT_FOUND, "remembered from now on");
    }
    let imported = import(first, &id, "Created").send().await.expect("an answer");
    assert_eq!(imported.status(), StatusCode::OK);
    assert_eq!(status(first, &id, None).await, StatusCode::OK, "who has created it knows");
    let given = change(first, &id, "Changed").await;
    assert_eq!(status(second, &id, Some(&given)).await, StatusCode::OK, "created and changed");
    assert_eq!(status(first, &id, Some(&given)).await, StatusCode::OK);

    // Deleted and brought back, it is no different: an absence has a version then.
    let deleted = second.client.delete(second.url(&path(&id))).send().await.expect("an answer");
    let gone = token(&deleted).expect("a token");
    for server in [first, second] {
        assert_eq!(status(server, &id, Some(&gone)).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(import(second, &id, "Created").send().await.expect("an answer").status(), StatusCode::OK);
    let given = change(second, &id, "Changed again").await;
    for server in [first, second] {
        assert_eq!(status(server, &id, Some(&given)).await, StatusCode::OK, "created anew");
    }
}

/// The token of a change.
async fn change(server: &Server, id: &str, bio: &str) -> String {
    let request = server.client.patch(server.url(&path(id))).header("content-type", "application/merge-patch+json");
    let changed = request.body(json!({"bio": bio}).to_string()).send().await.expect("an answer");
    assert_eq!(changed.status(), StatusCode::OK);
    token(&changed).expect("a token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_a_404_after_the_creation() {
    let pair = Pair::start().await;
    // With a memory of its own, as that is where absences are remembered.
    let second = start_on(pair.database.variables(), &[("REDIS_ADDRESS", &redis_address(&pair.redis))]).await;
    let both = [pair.servers[0].as_ref(), &second];
    let rounds = (0..scaled(10_000)).map(|_| create_after_404(both));
    stream::iter(rounds).buffer_unordered(CLIENTS).for_each(async |()| ()).await;
}

/// Far more ids than are remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_absences_are_remembered_of_many() {
    let database = fresh_database().await;
    let server = start_on(database.variables(), &[]).await;
    let mut most = 0.0_f64;
    for _ in 0..20 {
        let asked = (0..scaled(50_000) / 4).map(async |_| {
            assert_eq!(status(&server, &random_id(), None).await, StatusCode::NOT_FOUND);
        });
        stream::iter(asked).buffer_unordered(16).for_each(async |()| ()).await;
        most = most.max(metric(&server, "cache_absences", "memory").await);
        assert!(most <= ABSENCES, "{most} absences are remembered");
    }
    assert!(most > 0.0, "none was remembered");
}
