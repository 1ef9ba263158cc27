//! Each source in turn, and in pairs, does what sources do: an answer comes all the same, with the fields of the others, and none
//! that lacks something is kept as if it didn't.

use std::{fs, io::Write, time::Instant};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value, json};

use crate::{
    support::CEILING,
    upstream::{Answer, Behaviour, Service, Upstream, id, raw},
};

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];
/// Once decompressed.
const BOMB: usize = 256 << 20;
/// What the service may have held at its worst: far less than a bomb, or a body without an end.
const MEMORY_KIB: u64 = 200 << 10;

const CONFIGURATION: &str = r#"
[sources.a]
url = "http://ADDRESS/a/{id}"
private_addresses = true
timeout = "1s"
priority = { default = 0 }
[sources.b]
url = "http://ADDRESS/b/{id}"
private_addresses = true
timeout = "1s"
priority = { default = 1 }
[sources.c]
url = "http://ADDRESS/c/{id}"
private_addresses = true
timeout = "1s"
priority = { default = 2 }
[sources.d]
url = "http://ADDRESS/d/{id}"
private_addresses = true
timeout = "1s"
priority = { default = 3 }
[sources.dead]
url = "http://127.0.0.1:1/{id}"
private_addresses = true
[views.profile]
sources = ["a", "b", "c", "d"]
deadline = "5s"
[views.profile.tenants.dead]
sources = ["a", "dead"]
[views.profile.tenants.all-dead]
sources = ["dead"]
"#;

/// Whether it is a failure: a source may know nothing.
fn behaviours() -> Vec<(&'static str, Behaviour, bool)> {
    let gzip = |bytes: usize| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![b' '; 1 << 20];
        (0..bytes >> 20).for_each(|_| encoder.write_all(&zeros).expect("memory"));
        encoder.finish().expect("memory")
    };
    let bomb = gzip(BOMB);
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bomb.len());
    let bomb = [head.as_bytes(), &bomb].concat();
    let says = |body: &[u8]| Behaviour::Raw(raw("200 OK", body));
    let status = |status: &str| Behaviour::Raw(raw(status, b"{\"name\":\"x\"}"));
    let levels = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
    vec![
        ("resets", Behaviour::Resets, true),
        ("hangs", Behaviour::Hangs, true),
        ("hangs in mid-body", Behaviour::HangsInBody, true),
        ("drips", Behaviour::Drips, true),
        ("has no end", Behaviour::Endless, true),
        ("says that it has a gigabyte", Behaviour::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{".to_vec()), true),
        ("is a gzip bomb", Behaviour::Raw(bomb), true),
        ("ends before its time", Behaviour::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()), true),
        ("is no HTTP", Behaviour::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), true),
        ("500", status("500 Internal Server Error"), true),
        ("429", status("429 Too Many Requests"), true),
        (
            "redirects",
            Behaviour::Raw(b"HTTP/1.1 302 Found\r\nlocation: /a/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()),
            true,
        ),
        ("HTML", says(b"<html><body>Maintenance</body></html>"), true),
        ("truncated", says(b"{\"name\":\"x\",\"pl"), true),
        ("an array", says(b"[1]"), true),
        ("a wrong type", says(b"{\"name\":{\"first\":\"x\"}}"), true),
        ("10,000 levels", says(&levels), true),
        ("bad UTF-8", says(b"{\"name\":\"\xff\xfe\"}"), true),
        ("a member twice", says(b"{\"name\":\"x\",\"name\":\"y\"}"), true),
        ("404", status("404 Not Found"), false),
        ("204", Behaviour::Raw(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec()), false),
    ]
}

fn all_well(upstream: &Upstream) {
    for source in SOURCES {
        upstream.set(source, Behaviour::Well);
    }
}

fn expected(id: &str, lacking: &[usize]) -> Value {
    let mut fields = Map::from_iter([("id".to_owned(), json!(id))]);
    for (index, source) in SOURCES.iter().enumerate().filter(|(index, _)| !lacking.contains(index)) {
        fields.entry("name").or_insert(json!(source));
        fields.insert(SOURCES[index].to_owned(), json!(1));
    }
    Value::Object(fields)
}

#[tokio::test]
async fn an_answer_comes_with_the_fields_of_the_others() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, CONFIGURATION, &[]).await;
    let behaviours = behaviours();
    let count = behaviours.len();
    let mut number = 0;
    let mut incomplete = Vec::new();
    for turn in 0..count {
        // One by itself, then it and another one, at sources that change, so that none fails half of the time.
        for pair in [false, true] {
            let first = (turn, number % SOURCES.len());
            let second = ((turn * 5 + 1) % count, (number + 1 + turn % 3) % SOURCES.len());
            let at: Vec<(usize, usize)> = if pair { vec![first, second] } else { vec![first] };
            all_well(&upstream);
            for (turn, source) in &at {
                upstream.set(SOURCES[*source], behaviours[*turn].1.clone());
            }
            number += 1;
            let id = id(number);
            let what: Vec<_> = at.iter().map(|(turn, source)| (SOURCES[*source], behaviours[*turn].0)).collect();
            let began = Instant::now();
            let answer = service.profile(&id).await;
            assert!(began.elapsed() < CEILING, "{what:?}");
            let lacking: Vec<usize> = at.iter().map(|(_, source)| *source).collect();
            assert_eq!((answer.status, answer.json()), (200, expected(&id, &lacking)), "{what:?}: {}", service.server.log());
            let mut failed: Vec<&str> = at.iter().filter(|(turn, _)| behaviours[*turn].2).map(|(_, at)| SOURCES[*at]).collect();
            failed.sort_unstable();
            assert_eq!(answer.unavailable, failed.join(", "), "{what:?}");
            let again = service.profile(&id).await;
            assert_eq!(again.is_kept_as_complete(), failed.is_empty(), "{what:?}: {again:?}");
            if !failed.is_empty() {
                incomplete.push(id);
            }
        }
        // So that no window of a breaker is half failures.
        all_well(&upstream);
        for _ in 0..6 {
            number += 1;
            let id = id(number);
            assert_eq!(service.profile(&id).await.json(), expected(&id, &[]));
        }
    }
    let whole = |answer: &Answer| answer.unavailable.is_empty() && answer.status == 200;
    for id in incomplete {
        let answer = service.until(&format!("/profile/{id}"), whole).await;
        assert_eq!(answer.json(), expected(&id, &[]));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", service.server.pid())).expect("the process runs");
    let worst = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(worst.is_some_and(|worst| worst < MEMORY_KIB), "{worst:?} KiB");
}

#[tokio::test]
async fn a_source_that_refuses_is_named_and_all_of_them_are_a_503() {
    let upstream = Upstream::start().await;
    let service = Service::start(&upstream, CONFIGURATION, &[]).await;
    let answer = service.get(&format!("/profile/{}", id(1)), "dead").await;
    assert_eq!((answer.status, answer.unavailable.as_str()), (200, "dead"), "{answer:?}");
    assert_eq!(answer.json()["name"], "a");
    let none = service.get(&format!("/profile/{}", id(1)), "all-dead").await;
    assert_eq!((none.status, none.unavailable.as_str()), (503, "dead"), "{none:?}");
    assert_eq!(none.json()["error"]["code"], "SOURCES_UNAVAILABLE");
    for source in SOURCES {
        upstream.set(source, Behaviour::Raw(raw("404 Not Found", b"")));
    }
    let unknown = service.profile(&id(2)).await;
    assert_eq!((unknown.status, unknown.unavailable.as_str()), (404, ""), "{unknown:?}");
    // One that failed might have known.
    upstream.set("d", Behaviour::Resets);
    let unsure = service.profile(&id(3)).await;
    assert_eq!((unsure.status, unsure.unavailable.as_str()), (503, "d"), "{unsure:?}");
}
