//! Sources that fail, all of them and for a while: how much more they are asked, and how soon they are used again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use profile_domain::{SourceName, TenantId};
use profile_ports::{Ask, Deadline, Fetched, SourceError, Sources};
use profile_upstream::{Clients, HttpSources, Method, SourceSettings, UrlTemplate, guard::Reach};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

const CEILING: Duration = Duration::from_secs(30);
const RATE: u32 = 200;

/// A source that is well or answers 500 after a moment, and what it saw.
#[derive(Default)]
struct Source {
    /// What it answers whatever it is.
    always: Option<&'static [u8]>,
    is_well: AtomicBool,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

async fn serve(source: Arc<Source>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let source = Arc::clone(&source);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.unwrap_or(0) > 0 {
                    source.calls.fetch_add(1, Ordering::SeqCst);
                    let now = source.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                    source.most_at_once.fetch_max(now, Ordering::SeqCst);
                    // Long enough that probes would meet, were there several.
                    sleep(Duration::from_millis(20)).await;
                    source.at_once.fetch_sub(1, Ordering::SeqCst);
                    let answer: &[u8] = if let Some(always) = source.always {
                        always
                    } else if source.is_well.load(Ordering::SeqCst) {
                        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
                    } else {
                        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
                    };
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn settings(address: SocketAddr) -> SourceSettings {
    SourceSettings {
        url: UrlTemplate::parse(&format!("http://{address}/{{id}}"), Reach::Private, true).expect("a URL"),
        method: Method::Get,
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(5),
        retries: 2,
        concurrency: 64,
        max_bytes: 1 << 20,
        reach: Reach::Private,
    }
}

fn name(number: usize) -> SourceName {
    SourceName::parse(&format!("source-{number}")).expect("a name")
}

async fn ask(sources: &HttpSources, number: usize) -> Fetched {
    let tenant = TenantId::default_tenant();
    let ask = Ask { tenant: &tenant, id: "1", period: None, traceparent: None };
    sources.fetch(&name(number), &ask, Deadline::within(Duration::from_secs(5))).await
}

#[tokio::test]
async fn all_of_them_failing_are_left_alone_and_used_again_soon() {
    let seen: Vec<Arc<Source>> = (0..4).map(|_| Arc::default()).collect();
    let mut by_name = BTreeMap::new();
    for (number, source) in seen.iter().enumerate() {
        by_name.insert(name(number), settings(serve(Arc::clone(source)).await));
    }
    let clients = Clients::new(&prometheus::Registry::new()).expect("clients");
    let sources = Arc::new(HttpSources::new(clients, by_name, None));

    // Requests come at their rate, whatever becomes of those before.
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let mut closed_calls = 0;
    for _ in 0..RATE * 2 {
        ticks.tick().await;
        for number in 0..seen.len() {
            let sources = Arc::clone(&sources);
            requests.spawn(async move { ask(&sources, number).await });
        }
    }
    while let Some(fetched) = requests.join_next().await {
        let fetched = fetched.expect("no panic");
        assert!(fetched.answer.is_err());
        closed_calls += usize::from(fetched.attempts > 0);
    }
    let attempts: usize = seen.iter().map(|source| source.calls.load(Ordering::SeqCst)).sum();
    assert!(attempts * 10 <= closed_calls * 11, "{attempts} attempts for {closed_calls} calls");
    for (number, source) in seen.iter().enumerate() {
        assert!(matches!(ask(&sources, number).await.answer, Err(SourceError::Open)), "source {number} is still asked");
        // 400 requests came; in a second 200 would have. Open after ten outcomes, it saw what was on its way then, and probes.
        let calls = source.calls.load(Ordering::SeqCst);
        assert!(calls < 100, "{calls} calls");
        source.most_at_once.store(0, Ordering::SeqCst);
    }

    // One probe at a time, whoever asks meanwhile.
    let began = Instant::now();
    while seen.iter().any(|source| source.most_at_once.load(Ordering::SeqCst) == 0) {
        assert!(began.elapsed() < CEILING, "no probe");
        let mut crowd = JoinSet::new();
        for number in (0..seen.len()).cycle().take(40) {
            let sources = Arc::clone(&sources);
            crowd.spawn(async move { ask(&sources, number).await.attempts });
        }
        crowd.join_all().await;
        sleep(Duration::from_millis(5)).await;
    }
    for source in &seen {
        assert_eq!(source.most_at_once.load(Ordering::SeqCst), 1, "probes at once");
        source.is_well.store(true, Ordering::SeqCst);
    }
    let recovered = timeout(CEILING, async {
        for number in 0..seen.len() {
            while ask(&sources, number).await.answer.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    });
    recovered.await.expect("they are used again");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_gives_the_probe_back() {
    let seen = Arc::new(Source::default());
    let clients = Clients::new(&prometheus::Registry::new()).expect("clients");
    let by_name = BTreeMap::from([(name(0), settings(serve(Arc::clone(&seen)).await))]);
    let sources = HttpSources::new(clients, by_name, None);
    while !matches!(ask(&sources, 0).await.answer, Err(SourceError::Open)) {}
    seen.is_well.store(true, Ordering::SeqCst);
    let calls = seen.calls.load(Ordering::SeqCst);
    let probing = async {
        loop {
            // Given up before the source has answered.
            let _ = timeout(Duration::from_millis(2), ask(&sources, 0)).await;
            if seen.calls.load(Ordering::SeqCst) > calls {
                return;
            }
        }
    };
    timeout(CEILING, probing).await.expect("a probe");
    let answered = timeout(CEILING, async { while ask(&sources, 0).await.answer.is_err() {} });
    answered.await.expect("its turn was given back");
}

#[tokio::test]
async fn settings_that_stay_keep_what_is_known_of_a_source() {
    let seen = Arc::new(Source::default());
    let clients = Clients::new(&prometheus::Registry::new()).expect("clients");
    let as_they_are = settings(serve(Arc::clone(&seen)).await);
    let by_name = |settings: &SourceSettings| BTreeMap::from([(name(0), settings.clone())]);
    let first = HttpSources::new(clients.clone(), by_name(&as_they_are), None);
    while !matches!(ask(&first, 0).await.answer, Err(SourceError::Open)) {}
    let same = HttpSources::new(clients.clone(), by_name(&as_they_are), Some(&first));
    assert!(matches!(ask(&same, 0).await.answer, Err(SourceError::Open)));
    let other = SourceSettings { retries: 0, ..as_they_are };
    let changed = HttpSources::new(clients, by_name(&other), Some(&first));
    assert!(matches!(ask(&changed, 0).await.answer, Err(SourceError::Status(500))));
}

#[tokio::test]
async fn a_source_that_refuses_is_still_asked_and_one_that_is_overloaded_is_not() {
    let answers: [(&[u8], bool); 6] = [
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", true),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{]}", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\nconnection: close\r\n\r\n", true),
        (b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", false),
        (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", false),
    ];
    let clients = Clients::new(&prometheus::Registry::new()).expect("clients");
    let mut by_name = BTreeMap::new();
    for (number, (answer, _)) in answers.iter().enumerate() {
        let source = Source { always: Some(answer), ..Source::default() };
        by_name.insert(name(number), settings(serve(Arc::new(source)).await));
    }
    let sources = HttpSources::new(clients, by_name, None);
    for (number, (answer, is_asked)) in answers.iter().enumerate() {
        let mut last = ask(&sources, number).await;
        for _ in 0..14 {
            assert!(last.answer.is_err(), "it is of no use to the answer");
            last = ask(&sources, number).await;
        }
        let expected = if *is_asked { "closed" } else { "open" };
        assert_eq!(last.breaker, expected, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn callers_without_time_say_nothing_of_a_source() {
    let seen = Arc::new(Source::default());
    seen.is_well.store(true, Ordering::SeqCst);
    let clients = Clients::new(&prometheus::Registry::new()).expect("clients");
    let sources = HttpSources::new(clients, BTreeMap::from([(name(0), settings(serve(Arc::clone(&seen)).await))]), None);
    let tenant = TenantId::default_tenant();
    let ask = Ask { tenant: &tenant, id: "1", period: None, traceparent: None };
    for time in [Duration::ZERO, Duration::from_millis(2)] {
        for _ in 0..20 {
            let fetched = sources.fetch(&name(0), &ask, Deadline::within(time)).await;
            assert!(matches!(fetched.answer, Err(SourceError::TimedOut)));
            assert_eq!(fetched.breaker, "closed", "within {time:?}");
        }
    }
    assert!(sources.fetch(&name(0), &ask, Deadline::within(CEILING)).await.answer.is_ok());
}
