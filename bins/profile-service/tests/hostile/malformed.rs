//! Requests that are none.

use futures_util::future::join_all;

use crate::{
    catalogue::{self, Hostile},
    raw::{exchange, hurried, is_unharmed, statuses},
};

/// Passed over by the service, as RFC 9112 (section 2.2) allows.
const GOOD: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_or_its_connection_closed() {
    let server = hurried(&[]).await;
    let address = server.address();
    // As the first of a connection, and after another one.
    for before in ["", GOOD] {
        let exchanges = catalogue::all("canary").into_iter().map(|Hostile { name, bytes }| async move {
            let answers = exchange(address, [before.as_bytes(), &bytes].concat()).await;
            (name, answers)
        });
        for (name, answers) in join_all(exchanges).await {
            let mut statuses = statuses(&answers);
            if !before.is_empty() {
                assert_eq!(statuses.first(), Some(&200), "{name}: {answers}");
                statuses.remove(0);
            }
            assert!(statuses.len() <= 1, "{name} was taken for more than one request: {answers}");
            assert!(statuses.iter().all(|status| (400..500).contains(status)), "{name}: {answers}");
        }
    }
    assert_eq!(server.get_json("/api/v1/profiles").await["items"], serde_json::json!([]), "nothing of it was kept");
    is_unharmed(&server).await;
}
