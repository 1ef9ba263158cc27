//! Redis as the tier that keeps answers.

use std::time::Instant;

use profile_port_contracts::redis::RedisServer;

use crate::support::CEILING;
use crate::upstream::{Service, Upstream, id};

const CONFIGURATION: &str = r#"
[sources.a]
url = "http://ADDRESS/a/{id}"
private_addresses = true
[views.profile]
sources = ["a"]
"#;

#[tokio::test]
async fn redis_away_costs_speed_and_nothing_else() {
    let mut redis = RedisServer::start().await;
    let upstream = Upstream::start().await;
    let address = format!("127.0.0.1:{}", redis.port);
    let service = Service::start(&upstream, CONFIGURATION, &[("REDIS_ADDRESS", &address), ("CACHE", "redis")]).await;
    let path = format!("/profile/{}", id(1));
    let body = service.profile(&id(1)).await.body;
    let hit = service.until(&path, |answer| answer.cache_status.contains("detail=redis")).await;
    assert_eq!(hit.body, body);

    redis.kill().await;
    for _ in 0..20 {
        let away = service.profile(&id(1)).await;
        assert_eq!((away.status, &away.body), (200, &body), "{away:?}");
        assert_eq!(away.cache_status, "profile-service; fwd=miss");
    }
    redis.start_again().await;
    let hit = service.until(&path, |answer| answer.cache_status.contains("detail=redis")).await;
    assert_eq!(hit.body, body);

    // What an operator drops is dropped in Redis.
    // A part of it may not take anything yet, which an operator is told.
    let began = Instant::now();
    loop {
        let dropped = service.server.client.delete(crate::cached::admin(&service, "/cache/views/profile")).send().await;
        match dropped.expect("an answer").status().as_u16() {
            204 => break,
            status => assert!(status == 503 && began.elapsed() < CEILING, "{status}"),
        }
    }
    assert_eq!(service.profile(&id(1)).await.cache_status, "profile-service; fwd=miss");
    assert!(service.profile(&id(1)).await.is_kept_as_complete());
}
