//! What is kept of answers, and what ends it.

use serde_json::{Value, json};

use crate::upstream::{Answer, Behaviour, Service, Upstream, id, raw};

fn configuration(cache: &str) -> String {
    format!(
        r#"
[sources.a]
url = "http://ADDRESS/a/{{id}}"
private_addresses = true
[sources.b]
url = "http://ADDRESS/b/{{id}}"
private_addresses = true
[views.profile]
sources = ["a", "b"]
cache = "{cache}"
[views.profile.tenants.stored]
sources = ["a", "store"]
"#
    )
}

pub(crate) fn admin(service: &Service, path: &str) -> String {
    let log = service.server.log();
    let line = log.lines().find(|line| line.contains("listening")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    format!("http://{}{path}", line["admin"].as_str().expect("an address"))
}

#[tokio::test]
async fn a_stale_answer_is_shown_only_while_no_source_answers() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, &configuration("100ms"), &[]).await;
    let path = format!("/profile/{}", id(1));
    let whole = service.profile(&id(1)).await;
    assert_eq!(whole.json(), json!({"id": id(1), "a": 1, "b": 1, "name": "a"}));
    for source in ["a", "b"] {
        upstream.set(source, Behaviour::Resets);
    }
    let stale = |answer: &Answer| answer.cache_status.contains("STALE_IF_ERROR");
    let shown = service.until(&path, stale).await;
    assert_eq!((shown.status, &shown.body), (200, &whole.body), "{shown:?}");
    upstream.set("a", Behaviour::Well);
    let partly = service.until(&path, |answer| !stale(answer) && !answer.unavailable.is_empty()).await;
    assert_eq!((partly.json(), partly.unavailable.as_str()), (json!({"id": id(1), "a": 1, "name": "a"}), "b"));
    upstream.set("b", Behaviour::Well);
    let again = service.until(&path, |answer| answer.unavailable.is_empty()).await;
    assert_eq!(again.body, whole.body);
}

#[tokio::test]
async fn who_says_that_it_knows_nothing_has_answered() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, &configuration("100ms"), &[]).await;
    let path = format!("/profile/{}", id(1));
    assert_eq!(service.profile(&id(1)).await.status, 200);
    upstream.set("a", Behaviour::Raw(raw("404 Not Found", b"")));
    upstream.set("b", Behaviour::Resets);
    let past = service.until(&path, |answer| answer.status != 200 || answer.cache_status.contains("STALE")).await;
    assert_eq!((past.status, past.unavailable.as_str()), (503, "b"), "{past:?}");
}

#[tokio::test]
async fn incomplete_answers_are_kept_for_a_moment() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, &configuration("4h"), &[]).await;
    upstream.set("b", Behaviour::Raw(raw("403 Forbidden", b"")));
    // Of so many names some are of each part of the cache.
    for number in 0..32 {
        let kept = async || service.profile(&id(number)).await.cache_status.contains("hit; ttl=0");
        assert!(!kept().await);
        // A slow machine may ask again later than a moment.
        let again = kept().await || kept().await || kept().await;
        assert!(again, "id {number} isn't kept");
    }
}

#[tokio::test]
async fn what_is_made_of_the_store_follows_it_and_obeys_tokens() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, &configuration("4h"), &[]).await;
    let server = &service.server;
    let send = async |request: reqwest::RequestBuilder, city: &str| {
        let body = json!({"name": "Ada", "email": "ada@example.com", "attributes": {"city": city}});
        request.header("X-Tenant-ID", "stored").json(&body).send().await.expect("an answer")
    };
    let created = send(server.client.post(server.url("/api/v1/profiles")), "London").await;
    let stored = created.headers()["location"].to_str().expect("text").to_owned();
    let path = stored.replace("/api/v1/profiles", "/profile");
    let city = async |token: Option<&str>| {
        let request = server.client.get(server.url(&path)).header("X-Tenant-ID", "stored");
        let request = token.into_iter().fold(request, |request, token| request.header("X-Consistency-Token", token));
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        answer["city"].as_str().map(str::to_owned)
    };
    for turn in 0..10 {
        assert!(city(None).await.is_some());
        assert!(service.get(&path, "stored").await.is_kept_as_complete());
        let wanted = format!("city {turn}");
        let put = send(server.client.put(server.url(&stored)), &wanted).await;
        let token = put.headers()["x-consistency-token"].to_str().expect("text").to_owned();
        assert_eq!(city(Some(&token)).await.as_deref(), Some(wanted.as_str()), "with the token");
        // This instance wrote it, and its cache knows.
        assert_eq!(city(None).await.as_deref(), Some(wanted.as_str()), "without");
    }
}

#[tokio::test]
async fn operators_drop_what_is_kept_of_a_view_by_tenant() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, &configuration("4h"), &[]).await;
    let kept =
        async |number: usize, tenant: &str| service.get(&format!("/profile/{}", id(number)), tenant).await.is_kept_as_complete();
    for (number, tenant) in [(1, "default"), (2, "default"), (1, "stored")] {
        assert!(!kept(number, tenant).await);
        assert!(kept(number, tenant).await);
    }
    let drop = async |path: &str| {
        let answer = service.server.client.delete(admin(&service, path)).send().await.expect("an answer");
        answer.status().as_u16()
    };
    assert_eq!(drop(&format!("/cache/views/profile/{}", id(1))).await, 204);
    assert!(!kept(1, "default").await);
    assert!(kept(2, "default").await);
    assert!(kept(1, "stored").await);
    assert_eq!(drop("/cache/views/profile").await, 204);
    assert!(!kept(1, "default").await);
    assert!(!kept(2, "default").await);
    assert!(kept(1, "stored").await);
    assert!(kept(1, "default").await, "it is kept again");
    assert_eq!(drop("/cache/views/people").await, 404);
}
