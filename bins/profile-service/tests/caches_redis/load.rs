//! Who reads and writes while things go wrong, and never may be given an error, or what is too old.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use profile_port_contracts::{Random, seed};
use reqwest::{Response, StatusCode};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    checker::{History, STALENESS},
    instances::{PAUSE, create, import, metric, read, token},
    support::{CEILING, Server},
};

/// Profiles of each writer. The second half is changed seldom, by imports, and never read with a token: nothing but the feed
/// brings what was written on one instance to what others remember or share.
const PROFILES: usize = 8;
const WRITERS: usize = 3;
const READERS: usize = 6;
/// Loads of the store at once, in one instance.
const LOADS: f64 = 64.0;

/// Between two requests of one client, so that the machine is busy and not drowned.
const BREATH: Duration = Duration::from_millis(2);

pub(crate) struct Load {
    pub(crate) histories: Vec<Arc<History>>,
    /// The instances that are spoken to; changed while it goes on.
    servers: watch::Sender<Vec<Arc<Server>>>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
    hits: AtomicU64,
    /// Hits in Redis.
    shared: AtomicU64,
}

/// What a client needs.
struct Client {
    histories: Vec<Arc<History>>,
    servers: watch::Receiver<Vec<Arc<Server>>>,
    counts: Arc<Counts>,
    stopped: watch::Receiver<bool>,
    random: Random,
}

impl Load {
    /// Creates profiles and begins to read and write them, on all of these.
    pub(crate) async fn begin(servers: &[Arc<Server>]) -> Self {
        let seed = seed();
        eprintln!("TEST_SEED={seed}");
        let mut histories = Vec::new();
        for number in 0..WRITERS * PROFILES {
            histories.push(Arc::new(create(&servers[0], &format!("profile-{number}")).await));
        }
        let (servers, spoken_to) = watch::channel(servers.to_vec());
        let (stop, stopped) = watch::channel(false);
        let mut load = Self { histories, servers, counts: Arc::default(), stop, tasks: JoinSet::new() };
        for number in 0..WRITERS + READERS {
            let own = match number {
                0..WRITERS => load.histories[number * PROFILES..][..PROFILES].to_vec(),
                _ => load.histories.clone(),
            };
            let client = Client {
                histories: own,
                servers: spoken_to.clone(),
                counts: Arc::clone(&load.counts),
                stopped: stopped.clone(),
                random: Random::new(seed.wrapping_add(number as u64)),
            };
            if number < WRITERS {
                load.tasks.spawn(client.write());
            } else {
                load.tasks.spawn(client.read());
            }
        }
        load.tasks.spawn(watch_loads(spoken_to, stopped));
        load
    }

    /// Speaks to these from now on. Who waits for an answer of another one still does.
    pub(crate) fn speak_to(&self, servers: &[Arc<Server>]) {
        self.servers.send_replace(servers.to_vec());
    }

    /// Waits until so many more reads and writes were answered as they should.
    pub(crate) async fn goes_on(&mut self, reads: u64, writes: u64) {
        let counts = |counts: &Counts| (counts.reads.load(Ordering::Relaxed), counts.writes.load(Ordering::Relaxed));
        let (read, written) = counts(&self.counts);
        self.until(|now| counts(now).0 >= read + reads && counts(now).1 >= written + writes).await;
    }

    /// Waits until Redis has answered some reads more.
    pub(crate) async fn is_served_by_redis(&mut self) {
        let before = self.counts.shared.load(Ordering::Relaxed);
        self.until(|now| now.shared.load(Ordering::Relaxed) >= before + 20).await;
    }

    async fn until(&mut self, is_so: impl Fn(&Counts) -> bool) {
        let began = Instant::now();
        while !is_so(&self.counts) {
            // What went wrong is said at once, and not what it led to.
            if let Some(ended) = self.tasks.try_join_next() {
                ended.expect("a client");
                panic!("a client ended by itself");
            }
            assert!(began.elapsed() < CEILING, "it doesn't go on");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Goes on for so long.
    pub(crate) async fn lasts(&mut self, time: Duration) {
        let began = Instant::now();
        self.until(|_| began.elapsed() >= time || began.elapsed() + PAUSE * 2 > CEILING).await;
        if let Some(rest) = time.checked_sub(began.elapsed()) {
            Box::pin(self.lasts(rest)).await;
        }
    }

    /// Ends it, and looks a last time: with all caches as they are, every profile is what was written last, once nothing may be
    /// missing any more.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client");
        }
        let servers = self.servers.borrow().clone();
        for history in &self.histories {
            let last = history.last();
            for server in &servers {
                let read = read(server, &history.path(), last.token.as_deref()).await.expect("an answer");
                assert!(matches!(read.status, StatusCode::OK | StatusCode::NOT_FOUND), "{read:?}");
                let may_miss = if last.token.is_some() { Duration::ZERO } else { STALENESS };
                history.check(read.began, may_miss, &read.seen, &read.cache);
            }
        }
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        eprintln!(
            "{} reads, {} of them hits, {} of these in Redis; {} writes",
            counted(&self.counts.reads),
            counted(&self.counts.hits),
            counted(&self.counts.shared),
            counted(&self.counts.writes)
        );
    }
}

impl Client {
    fn server(&mut self) -> Arc<Server> {
        let servers = self.servers.borrow().clone();
        Arc::clone(self.random.pick(&servers))
    }

    /// Reads until it is stopped, some with the token of the last write.
    async fn read(mut self) {
        while !*self.stopped.borrow() {
            let server = self.server();
            let number = self.random.below(u32::try_from(self.histories.len()).expect("few profiles")) as usize;
            let history = Arc::clone(&self.histories[number]);
            let busy = number % PROFILES < PROFILES / 2;
            let known = (busy && self.random.percent(50)).then(|| history.last()).filter(|known| known.token.is_some());
            let token = known.as_ref().and_then(|known| known.token.as_deref());
            let read = read(&server, &history.path(), token).await.expect("an answer");
            assert!(matches!(read.status, StatusCode::OK | StatusCode::NOT_FOUND), "{read:?}: {}", server.log());
            let how =
                format!("{} of {}, {}", known.as_ref().map_or("a read", |_| "a read with a token"), server.base_url, read.cache);
            match &known {
                Some(known) => history.check_at_least(read.began, known.version, &read.seen, &how),
                None => history.check(read.began, STALENESS, &read.seen, &how),
            }
            let counts = &self.counts;
            counts.reads.fetch_add(1, Ordering::Relaxed);
            counts.hits.fetch_add(u64::from(read.cache.contains("; hit")), Ordering::Relaxed);
            counts.shared.fetch_add(u64::from(read.is_from("redis")), Ordering::Relaxed);
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Changes its profiles, deletes some and brings them back.
    async fn write(mut self) {
        while !*self.stopped.borrow() {
            let (busy, quiet) = self.histories.split_at(PROFILES / 2);
            let by_import = self.random.percent(5);
            let history = Arc::clone(self.random.pick(if by_import { quiet } else { busy }));
            let lives = history.last().name.is_some();
            let delete = self.random.percent(15);
            let name = if lives && delete { None } else { Some(format!("step-{:08x}", self.random.below(u32::MAX))) };
            let version = history.begin(name.clone());
            let answer = loop {
                let server = self.server();
                let request = match (&name, lives && !by_import) {
                    (None, _) => server.client.delete(server.url(&history.path())),
                    (Some(name), true) => patch(&server, &history, name),
                    (Some(name), false) => import(&server, &history.id, name),
                };
                match request.send().await {
                    Ok(answer) => break answer,
                    // An instance that was killed. The same again changes nothing, if it was done.
                    Err(_) if server.client.get(server.url("/livez")).send().await.is_err() => tokio::time::sleep(PAUSE).await,
                    Err(error) => panic!("{error}"),
                }
            };
            let token = token(&answer);
            acknowledged(answer, name.as_deref(), lives && !by_import, version).await;
            history.acknowledge(token);
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BREATH * 15).await;
        }
    }
}

/// A change by a client that is answered, whatever else happens.
pub(crate) async fn change(server: &Server, history: &History, name: &str) {
    let version = history.begin(Some(name.to_owned()));
    let answer = patch(server, history, name).send().await.expect("an answer");
    let token = token(&answer);
    acknowledged(answer, Some(name), true, version).await;
    history.acknowledge(token);
}

fn patch(server: &Server, history: &History, name: &str) -> reqwest::RequestBuilder {
    let request = server.client.patch(server.url(&history.path()));
    request.header("content-type", "application/merge-patch+json").body(json!({"name": name}).to_string())
}

async fn acknowledged(answer: Response, name: Option<&str>, tagged: bool, version: i64) {
    let (status, tag) = (answer.status(), answer.headers().get("etag").cloned());
    let body = answer.text().await.expect("a body");
    match (name, tagged) {
        (None, _) => assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND), "{status}: {body}"),
        (Some(_), true) => {
            assert_eq!(status, StatusCode::OK, "{body}");
            let tag = tag.expect("a tag");
            assert!(tag.to_str().expect("text").ends_with(&format!("-{version}\"")), "{tag:?} is not of version {version}");
        }
        (Some(_), false) => {
            assert_eq!(status, StatusCode::OK, "{body}");
            assert!(!body.contains("\"error\""), "{body}");
        }
    }
}

/// However few hits there are, the store is asked for no more at once.
async fn watch_loads(servers: watch::Receiver<Vec<Arc<Server>>>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let servers = servers.borrow().clone();
        for server in &servers {
            let loads = metric(server, "cache_loads_in_flight", "").await;
            assert!(loads <= LOADS, "{loads} loads at once");
        }
        tokio::time::sleep(PAUSE * 5).await;
    }
}
