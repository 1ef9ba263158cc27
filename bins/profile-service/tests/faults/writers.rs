//! Writers under faults, each of profiles of its own, that remember what was acknowledged.
//!
//! Every write is one that can be repeated safely: a creation has an `Idempotency-Key`, all else an `If-Match`. So a writer
//! goes on after a fault by repeating what was not answered, and sees by the answer if something acknowledged has gone.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    PAUSE,
    support::{CEILING, Server},
};

const PROFILES: &str = "/api/v1/profiles";
/// Profiles of each writer.
const LIVING: usize = 3;

/// One client and its profiles.
pub(crate) struct Writer {
    number: usize,
    client: Client,
    steps: usize,
    living: Vec<Known>,
    /// Paths of what was deleted since the last look.
    deleted: Vec<String>,
    attempt: Option<Attempt>,
}

/// A profile as it was acknowledged last.
struct Known {
    path: String,
    version: i64,
    content: Value,
    /// What it had before, and must be found by no more.
    former_email: Option<String>,
}

/// A write that was not answered, or not with its outcome.
struct Attempt {
    write: Write,
    content: Value,
    key: String,
    /// Whether an earlier sending may have been carried out.
    maybe_done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Create,
    Replace(usize),
    Patch(usize),
    Delete(usize),
}

/// How a write was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// 503: nothing was written.
    Unavailable,
    /// 503: nobody knows.
    Unknown,
    /// 507: nothing was written.
    Full,
    /// No answer: the service is gone.
    Gone,
}

impl Writer {
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let writer = |number| Self {
            number,
            client: Client::builder().timeout(CEILING).build().expect("a client"),
            steps: 0,
            living: Vec::new(),
            deleted: Vec::new(),
            attempt: None,
        };
        (0..count).map(writer).collect()
    }

    /// Sends the next write, or the one before again, and remembers what became of it.
    async fn step(&mut self, base_url: &str) -> Outcome {
        let mut attempt = match self.attempt.take() {
            Some(attempt) => attempt,
            None => self.next(),
        };
        let answer = self.request(base_url, &attempt).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                attempt.maybe_done |= !error.is_connect();
                self.attempt = Some(attempt);
                return Outcome::Gone;
            }
        };
        let (status, retry_after) = (answer.status(), answer.headers().contains_key("retry-after"));
        let Ok(body) = answer.bytes().await else {
            attempt.maybe_done = true;
            self.attempt = Some(attempt);
            return Outcome::Gone;
        };
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(retry_after, "{body}");
            let outcome = match body["error"]["code"].as_str() {
                Some("UNAVAILABLE") => Outcome::Unavailable,
                Some("COMMIT_UNKNOWN") => Outcome::Unknown,
                other => panic!("503 with {other:?}"),
            };
            attempt.maybe_done |= outcome == Outcome::Unknown;
            self.attempt = Some(attempt);
            return outcome;
        }
        if status == StatusCode::INSUFFICIENT_STORAGE {
            assert_eq!(body["error"]["code"], "STORAGE_FULL");
            self.attempt = Some(attempt);
            return Outcome::Full;
        }
        if status == StatusCode::CONFLICT && body["error"]["code"] == "IDEMPOTENCY_IN_PROGRESS" {
            self.attempt = Some(attempt);
            return Outcome::Unavailable;
        }
        self.acknowledge(attempt, status, &body);
        Outcome::Acknowledged
    }

    fn next(&mut self) -> Attempt {
        self.steps += 1;
        let (number, step) = (self.number, self.steps);
        let index = step % LIVING;
        let write = if self.living.len() < LIVING {
            Write::Create
        } else {
            match step % 11 {
                0 => Write::Delete(index),
                1..=5 => Write::Replace(index),
                _ => Write::Patch(index),
            }
        };
        let attributes = json!({"step": step, "tag": format!("w{number}-{step}"), "nested": {"step": step}});
        let content = match write {
            Write::Patch(index) => {
                let mut content = self.living[index].content.clone();
                content["attributes"] = attributes;
                content["bio"] = json!(format!("Patched in step {step}"));
                content
            }
            _ => json!({
                "name": format!("Writer {number} in step {step}"),
                "email": format!("w{number}-{step}@example.com"),
                "bio": format!("Written in step {step}"),
                "attributes": attributes,
            }),
        };
        Attempt { write, content, key: format!("w{number}-{step}"), maybe_done: false }
    }

    fn request(&self, base_url: &str, attempt: &Attempt) -> RequestBuilder {
        let conditional = |method, index: usize| {
            let known = &self.living[index];
            let request = self.client.request(method, format!("{base_url}{}", known.path));
            request.header("if-match", format!("\"1-{}\"", known.version))
        };
        match attempt.write {
            Write::Create => {
                let request = self.client.post(format!("{base_url}{PROFILES}"));
                request.header("idempotency-key", &attempt.key).json(&attempt.content)
            }
            Write::Replace(index) => conditional(Method::PUT, index).json(&attempt.content),
            Write::Patch(index) => {
                let patch = json!({"bio": attempt.content["bio"], "attributes": attempt.content["attributes"]});
                conditional(Method::PATCH, index).header("content-type", "application/merge-patch+json").body(patch.to_string())
            }
            Write::Delete(index) => conditional(Method::DELETE, index),
        }
    }

    fn acknowledge(&mut self, attempt: Attempt, status: StatusCode, body: &Value) {
        let Attempt { write, content, maybe_done, .. } = attempt;
        match (write, status) {
            (Write::Create, StatusCode::CREATED) => {
                assert_eq!((body["version"].as_i64(), content_of(body)), (Some(1), content.clone()));
                let path = format!("{PROFILES}/{}", body["id"].as_str().expect("an id"));
                self.living.push(Known { path, version: 1, content, former_email: None });
            }
            (Write::Replace(index) | Write::Patch(index), StatusCode::OK) => {
                assert_eq!(body["version"], json!(self.living[index].version + 1), "{body}");
                assert_eq!(content_of(body), content);
                self.living[index].became(content);
            }
            // It was the earlier sending that did it; the next look tells whether it did what was sent.
            (Write::Replace(index) | Write::Patch(index), StatusCode::PRECONDITION_FAILED) if maybe_done => {
                self.living[index].became(content);
            }
            (Write::Delete(index), StatusCode::NO_CONTENT) => self.deleted.push(self.living.remove(index).path),
            (Write::Delete(index), StatusCode::NOT_FOUND) if maybe_done => self.deleted.push(self.living.remove(index).path),
            (_, status) => {
                panic!("{status} for what was acknowledged as {:?}: {body}", self.living.last().map(|known| known.version))
            }
        }
    }

    /// Reads everything back: what was acknowledged, or one write more if that was sent and not answered; and finds it by what
    /// it serves and by nothing else.
    pub(crate) async fn find_all_acknowledged(&mut self, server: &Server) {
        if let Some(attempt) = self.attempt.take() {
            // What may have been done is repeated, and answered now with what is true.
            if attempt.maybe_done {
                self.attempt = Some(attempt);
                let began = Instant::now();
                while self.step(&server.base_url).await != Outcome::Acknowledged {
                    assert!(began.elapsed() < CEILING, "a repeated write isn't answered");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        for known in &self.living {
            let found = server.get_json(&known.path).await;
            assert_eq!((found["version"].as_i64(), content_of(&found)), (Some(known.version), known.content.clone()));
            let mut listed = found.clone();
            listed.as_object_mut().expect("an object").remove("source");
            let field = |pointer: &str| known.content.pointer(pointer).and_then(Value::as_str).expect("text").to_owned();
            let (email, tag) = (field("/email"), field("/attributes/tag"));
            for query in [format!("email={email}"), format!("attr.tag={tag}"), format!("email={email}&attr.tag={tag}")] {
                let list = server.get_json(&format!("{PROFILES}?{query}")).await;
                assert_eq!(list["items"], json!([listed]), "{query}");
            }
            if let Some(former) = &known.former_email {
                let list = server.get_json(&format!("{PROFILES}?email={former}")).await;
                assert_eq!(list["items"], json!([]), "{former} was left");
            }
        }
        for path in self.deleted.drain(..) {
            assert_eq!(server.status(&path).await, Some(StatusCode::NOT_FOUND), "{path} was deleted");
        }
    }
}

impl Known {
    fn became(&mut self, content: Value) {
        let former = std::mem::replace(&mut self.content, content);
        self.former_email = former["email"].as_str().filter(|email| self.content["email"] != **email).map(str::to_owned);
        self.version += 1;
    }
}

/// What the client wrote of it.
fn content_of(profile: &Value) -> Value {
    json!({"name": profile["name"], "email": profile["email"], "bio": profile["bio"], "attributes": profile["attributes"]})
}

/// Writers at work.
pub(crate) struct Load {
    writers: JoinSet<Writer>,
    stop: watch::Sender<bool>,
    tally: Arc<Tally>,
}

/// What all writers have seen together.
#[derive(Default)]
struct Tally {
    acknowledged: AtomicUsize,
    unavailable: AtomicUsize,
    unknown: AtomicUsize,
    full: AtomicUsize,
    last_failure: Mutex<Option<Instant>>,
}

impl Load {
    /// Lets them write until they are stopped or nobody answers.
    pub(crate) fn begin(writers: Vec<Writer>, server: &Server) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut load = Self { writers: JoinSet::new(), stop, tally: Arc::default() };
        for mut writer in writers {
            let (url, stopped, tally) = (server.base_url.clone(), stopped.clone(), Arc::clone(&load.tally));
            load.writers.spawn(async move {
                while !*stopped.borrow() {
                    match writer.step(&url).await {
                        Outcome::Acknowledged => {
                            tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        Outcome::Unavailable => tally.unavailable.fetch_add(1, Ordering::Relaxed),
                        Outcome::Unknown => tally.unknown.fetch_add(1, Ordering::Relaxed),
                        Outcome::Full => tally.full.fetch_add(1, Ordering::Relaxed),
                        Outcome::Gone => break,
                    };
                    *tally.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    tokio::time::sleep(PAUSE).await;
                }
                writer
            });
        }
        load
    }

    /// Waits for so many more acknowledgements.
    pub(crate) async fn acknowledges(&mut self, more: usize) {
        let wanted = self.tally.acknowledged.load(Ordering::Relaxed) + more;
        self.reaches(|tally| &tally.acknowledged, wanted).await;
    }

    /// Waits for another 503.
    pub(crate) async fn fails(&mut self) {
        let failures = |tally: &Tally| tally.unavailable.load(Ordering::Relaxed) + tally.unknown.load(Ordering::Relaxed);
        let (before, began) = (failures(&self.tally), Instant::now());
        while failures(&self.tally) == before {
            self.go_on(began).await;
        }
    }

    /// Waits for so many more 507s.
    pub(crate) async fn is_refused_room(&mut self, more: usize) {
        let wanted = self.tally.full.load(Ordering::Relaxed) + more;
        self.reaches(|tally| &tally.full, wanted).await;
    }

    /// Waits for so many more writes of which nobody knows whether they were done.
    pub(crate) async fn is_left_in_doubt(&mut self, more: usize) {
        let wanted = self.tally.unknown.load(Ordering::Relaxed) + more;
        self.reaches(|tally| &tally.unknown, wanted).await;
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.tally.acknowledged.load(Ordering::Relaxed)
    }

    async fn reaches(&mut self, count: fn(&Tally) -> &AtomicUsize, wanted: usize) {
        let began = Instant::now();
        while count(&self.tally).load(Ordering::Relaxed) < wanted {
            self.go_on(began).await;
        }
    }

    async fn go_on(&mut self, began: Instant) {
        assert!(began.elapsed() < CEILING, "the writers wait for what doesn't come");
        tokio::select! {
            biased;
            // A writer that found something wrong says so here.
            Some(ended) = self.writers.join_next() => { ended.expect("a writer found something wrong"); panic!("a writer ended") }
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
        }
    }

    /// 503s so far: those that say that nothing was written, and those that don't know.
    pub(crate) fn failures(&self) -> (usize, usize) {
        (self.tally.unavailable.load(Ordering::Relaxed), self.tally.unknown.load(Ordering::Relaxed))
    }

    pub(crate) fn last_failure(&self) -> Option<Instant> {
        *self.tally.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells them to stop, and waits until each has.
    pub(crate) async fn end(self) -> Vec<Writer> {
        self.stop.send_replace(true);
        self.writers.join_all().await
    }

    /// Waits until each has seen that the service is gone.
    pub(crate) async fn gone(self) -> Vec<Writer> {
        self.writers.join_all().await
    }
}
