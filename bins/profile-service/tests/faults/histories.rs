//! A random history of concurrent calls under faults, checked for linearizability address by address.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use profile_port_contracts::scaled;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    PAUSE, borrowed,
    linearizable::{Answer, Call, Event, Profile, check},
    rows::Rows,
    support::{CEILING, PrivatePostgres, Server, stores::Backend},
};

const CLIENTS: u64 = 8;
const ADDRESSES: usize = 4;
/// Answers from one fault to the next.
const BETWEEN_FAULTS: usize = 150;

/// What a cache shows may be older than what a list or a refusal has shown before.
fn uncached(mut variables: Vec<(String, String)>) -> Vec<(String, String)> {
    variables.push(("CACHE".to_owned(), "off".to_owned()));
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_on_sqlite_is_linearizable_over_kills() {
    let backend = Backend::sqlite();
    let mut server = Server::start(&borrowed(&uncached(backend.variables()))).await;
    let history = History::begin(&server);
    for _ in 0..scaled(20) {
        history.answers(BETWEEN_FAULTS).await;
        server.restart_after("KILL").await;
        history.moved_to(&server);
    }
    history.answers(BETWEEN_FAULTS).await;
    history.must_be_linearizable().await;
    Rows::of(&backend).are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_on_postgres_is_linearizable_over_kills_and_restarts() {
    let postgres = PrivatePostgres::start().await;
    let mut server = Server::start(&borrowed(&uncached(postgres.variables()))).await;
    let history = History::begin(&server);
    for round in 0..scaled(20) {
        history.answers(BETWEEN_FAULTS).await;
        match round % 4 {
            0 => {
                server.restart_after("KILL").await;
                history.moved_to(&server);
                continue;
            }
            1 => postgres.stop("fast").await,
            2 => postgres.kill().await,
            _ => postgres.stop("immediate").await,
        }
        postgres.start_again().await;
    }
    history.answers(BETWEEN_FAULTS).await;
    history.must_be_linearizable().await;
    Rows::Postgres(postgres.url.clone()).are_whole().await;
}

/// A recorded event, with the number of the creation that the profile it found began with.
struct Record {
    address: usize,
    event: Event,
    born: Option<u64>,
}

/// Clients at work, and what they have seen.
struct History {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
    service: watch::Sender<String>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    clock: AtomicU64,
    values: AtomicU64,
    answers: AtomicUsize,
    records: Mutex<Vec<Record>>,
}

impl History {
    fn begin(server: &Server) -> Self {
        let seed = getrandom::u64().expect("random bytes");
        eprintln!("the seed is {seed}");
        let (service, at) = watch::channel(server.base_url.clone());
        let (stop, stopped) = watch::channel(false);
        let mut history = Self { clients: JoinSet::new(), shared: Arc::default(), service, stop };
        for number in 0..CLIENTS {
            let mut worker = Worker {
                client: Client::builder().timeout(CEILING).build().expect("a client"),
                at: at.clone(),
                shared: Arc::clone(&history.shared),
                random: seed.wrapping_add(number),
                known: vec![None; ADDRESSES],
            };
            let stopped = stopped.clone();
            history.clients.spawn(async move {
                while !*stopped.borrow() {
                    worker.step().await;
                }
            });
        }
        history
    }

    /// The service listens somewhere else now.
    fn moved_to(&self, server: &Server) {
        self.service.send_replace(server.base_url.clone());
    }

    /// Waits for so many more answers.
    async fn answers(&self, more: usize) {
        let (wanted, began) = (self.shared.answers.load(Ordering::Relaxed) + more, Instant::now());
        while self.shared.answers.load(Ordering::Relaxed) < wanted {
            assert!(began.elapsed() < CEILING, "the clients get no answers");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn must_be_linearizable(self) {
        self.stop.send_replace(true);
        self.clients.join_all().await;
        let mut records = std::mem::take(&mut *self.shared.records.lock().unwrap_or_else(PoisonError::into_inner));
        // Who created what was deleted before its creator heard of it.
        let seen: Vec<(u64, String)> = records
            .iter()
            .filter_map(|record| match (&record.event.answer, record.born) {
                (Answer::Found(profile), Some(born)) => Some((born, profile.id.clone())),
                _ => None,
            })
            .collect();
        for record in &mut records {
            if let (Call::Create(value), Answer::Created(id)) = (&record.event.call, &mut record.event.answer)
                && id.is_empty()
            {
                let (_, found) =
                    seen.iter().find(|(born, _)| born == value).expect("what was deleted was seen by who deleted it");
                id.clone_from(found);
            }
        }
        for address in 0..ADDRESSES {
            let history: Vec<Event> =
                records.iter().filter(|record| record.address == address).map(|record| record.event.clone()).collect();
            let count = |what: fn(&Event) -> bool| history.iter().filter(|event| what(event)).count();
            eprintln!(
                "{} calls: {} creations, {} changes, {} deletions, {} answers lost",
                history.len(),
                count(|event| matches!(event.answer, Answer::Created(_))),
                count(|event| matches!(event.answer, Answer::Changed(_))),
                count(|event| matches!(event.answer, Answer::Deleted)),
                count(|event| matches!(event.answer, Answer::Lost)),
            );
            let began = Instant::now();
            if let Err(why) = check(&history) {
                panic!("no order explains the history: {why}\n{history:#?}");
            }
            eprintln!("explained in {:.1?}", began.elapsed());
        }
    }
}

struct Worker {
    client: Client,
    at: watch::Receiver<String>,
    shared: Arc<Shared>,
    random: u64,
    /// By address: what was last seen, and which creation it began with.
    known: Vec<Option<(Profile, u64)>>,
}

/// What came of one sending.
enum Sent {
    Answered(StatusCode, Value),
    /// It surely had no effect.
    Refused,
    Unknown,
}

impl Worker {
    async fn step(&mut self) {
        let address = self.draw(ADDRESSES as u64);
        let address = usize::try_from(address).unwrap_or_default();
        let value = self.shared.values.fetch_add(1, Ordering::Relaxed);
        let choice = self.draw(100);
        let call = match (&self.known[address], choice) {
            (_, 0..20) | (None, 20..60) => Call::Find,
            (None, _) | (_, 20..24) => Call::Create(value),
            (Some((known, _)), _) => {
                let (id, version) = (known.id.clone(), Some(known.version));
                match choice {
                    24..40 => Call::Read(id),
                    40..64 => Call::Put { id, expected: version, value },
                    64..74 => Call::Put { id, expected: None, value },
                    74..84 => Call::Patch { id, expected: version, value },
                    84..97 => Call::Patch { id, expected: None, value },
                    97..99 => Call::Delete { id, expected: version },
                    _ => Call::Delete { id, expected: None },
                }
            }
        };
        let born = self.known[address].as_ref().map_or(0, |(_, born)| *born);
        let sent = self.shared.clock.fetch_add(1, Ordering::SeqCst);
        let (answer, found) = loop {
            match (self.send(address, &call, born).await, &call) {
                (Sent::Answered(status, body), _) => {
                    self.shared.answers.fetch_add(1, Ordering::Relaxed);
                    break (read_answer(&call, status, &body), profile_in(&call, &body));
                }
                // It is repeated under its key until there is an outcome.
                (_, Call::Create(_)) => tokio::time::sleep(PAUSE).await,
                (Sent::Unknown, Call::Put { .. } | Call::Patch { .. } | Call::Delete { .. }) => break (Answer::Lost, None),
                _ => {
                    tokio::time::sleep(PAUSE).await;
                    return;
                }
            }
        };
        let answered = self.shared.clock.fetch_add(1, Ordering::SeqCst);
        match (&answer, &found) {
            (Answer::Found(_) | Answer::Created(_) | Answer::Changed(_), Some(_)) => self.known[address].clone_from(&found),
            (Answer::Nothing | Answer::Mismatch | Answer::Deleted, _) => self.known[address] = None,
            _ => {}
        }
        let born = found.map(|(_, born)| born);
        let record = Record { address, event: Event { call, answer, sent, answered }, born };
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    async fn send(&self, address: usize, call: &Call, born: u64) -> Sent {
        let request = self.request(address, call, born);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return if error.is_connect() { Sent::Refused } else { Sent::Unknown },
        };
        let status = answer.status();
        let Ok(body) = answer.bytes().await else { return Sent::Unknown };
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        match (status, body["error"]["code"].as_str()) {
            (StatusCode::SERVICE_UNAVAILABLE, Some("COMMIT_UNKNOWN")) => Sent::Unknown,
            (StatusCode::SERVICE_UNAVAILABLE, Some("UNAVAILABLE")) | (StatusCode::CONFLICT, Some("IDEMPOTENCY_IN_PROGRESS")) => {
                Sent::Refused
            }
            _ => Sent::Answered(status, body),
        }
    }

    fn request(&self, address: usize, call: &Call, born: u64) -> RequestBuilder {
        let profiles = format!("{}/api/v1/profiles", *self.at.borrow());
        let email = format!("address-{address}@example.com");
        let document =
            |born: u64, value: u64| json!({"name": "Known", "email": email, "attributes": {"born": born, "put": value}});
        let conditional = |method, id: &str, expected: &Option<i64>| {
            let request = self.client.request(method, format!("{profiles}/{id}"));
            match expected {
                Some(version) => request.header("if-match", format!("\"1-{version}\"")),
                None => request,
            }
        };
        match call {
            Call::Create(value) => {
                let request = self.client.post(profiles).header("idempotency-key", value.to_string());
                request.json(&document(*value, *value))
            }
            Call::Find => self.client.get(format!("{profiles}?email={email}")),
            Call::Read(id) => self.client.get(format!("{profiles}/{id}")),
            Call::Put { id, expected, value } => conditional(Method::PUT, id, expected).json(&document(born, *value)),
            Call::Patch { id, expected, value } => {
                let patch = json!({"attributes": {"patch": value}}).to_string();
                conditional(Method::PATCH, id, expected).header("content-type", "application/merge-patch+json").body(patch)
            }
            Call::Delete { id, expected } => conditional(Method::DELETE, id, expected),
        }
    }

    /// SplitMix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

fn read_answer(call: &Call, status: StatusCode, body: &Value) -> Answer {
    match (call, status) {
        (Call::Create(_), StatusCode::CREATED) => Answer::Created(body["id"].as_str().expect("an id").to_owned()),
        // The replay of a creation whose profile is gone again.
        (Call::Create(_), StatusCode::NOT_FOUND) => Answer::Created(String::new()),
        (Call::Create(_), StatusCode::CONFLICT) => {
            assert_eq!(body["error"]["code"], "EMAIL_TAKEN");
            Answer::Taken
        }
        (Call::Find | Call::Read(_), StatusCode::OK) => {
            profile_in(call, body).map_or(Answer::Nothing, |(profile, _)| Answer::Found(profile))
        }
        (Call::Put { .. } | Call::Patch { .. }, StatusCode::OK) => Answer::Changed(body["version"].as_i64().expect("a version")),
        (Call::Delete { .. }, StatusCode::NO_CONTENT) => Answer::Deleted,
        (_, StatusCode::NOT_FOUND) => Answer::Nothing,
        (_, StatusCode::PRECONDITION_FAILED) => Answer::Mismatch,
        other => panic!("{other:?}: {body}"),
    }
}

/// The profile in an answer, and the creation it began with.
fn profile_in(call: &Call, body: &Value) -> Option<(Profile, u64)> {
    let body = if *call == Call::Find {
        let items = body["items"].as_array()?;
        assert!(items.len() <= 1, "one address, several profiles: {body}");
        items.first()?
    } else {
        body
    };
    let profile = Profile {
        id: body["id"].as_str()?.to_owned(),
        version: body["version"].as_i64()?,
        put: body["attributes"]["put"].as_u64()?,
        patch: body["attributes"]["patch"].as_u64(),
    };
    Some((profile, body["attributes"]["born"].as_u64()?))
}
