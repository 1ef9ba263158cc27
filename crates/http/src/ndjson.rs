//! Bodies of lines (NDJSON): of any length, read as they come, as long as they come fast enough.

use std::{
    cell::Cell,
    future::{Ready, ready},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::{self, HeaderValue},
    mime,
    web::Data,
};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, LocalBoxStream},
};
use tokio::time::timeout;

use crate::{
    body,
    problem::{Code, Problem},
    settings::{Pace, Settings},
};

/// The media type of what is sent; the others are taken, too.
pub(crate) const NDJSON: &str = "application/x-ndjson";
const TAKEN: [&str; 3] = ["x-ndjson", "ndjson", "jsonl"];

/// A body of lines that has not been read yet. `application/json` is not taken for it: that names one value, such as an array,
/// and nothing of it would be found in lines.
pub(crate) struct NdjsonBody {
    payload: Payload,
    pace: Pace,
}

impl FromRequest for NdjsonBody {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let settings = request.app_data::<Data<Settings>>().ok_or_else(|| Problem::internal("no settings in this route"));
        let body = settings.and_then(|settings| {
            check_headers(request)?;
            Ok(Self { payload: payload.take(), pace: settings.pace })
        });
        ready(body)
    }
}

fn check_headers(request: &HttpRequest) -> Result<(), Problem> {
    body::refuse_codings(request)?;
    let media_type = body::media_type(request)?;
    let taken = media_type.is_some_and(|it| it.type_() == mime::APPLICATION && TAKEN.contains(&it.subtype().as_str()));
    if taken {
        return Ok(());
    }
    let problem = Problem::new(Code::UnsupportedMediaType, "the body must be lines of JSON, sent as application/x-ndjson");
    Err(problem
        .with_header(header::ACCEPT, HeaderValue::from_static("application/x-ndjson, application/ndjson, application/jsonl")))
}

impl NdjsonBody {
    /// The bytes as they come, until they end, break off, or come too slowly while the answer doesn't move either.
    pub(crate) fn bytes(self, answered: Moved) -> impl Stream<Item = Result<Bytes, Problem>> + 'static {
        let window = (Duration::ZERO, 0);
        let reader = Reader { payload: self.payload.boxed_local(), pace: self.pace, moved: answered, window };
        stream::unfold(Some(reader), async |reader| {
            let mut reader = reader?;
            match reader.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(reader))),
                Err(problem) => Some((Err(problem), None)),
            }
        })
    }
}

/// What went over a connection, in both directions.
#[derive(Clone, Default)]
pub(crate) struct Moved(Rc<Counts>);

#[derive(Default)]
struct Counts {
    bytes: Cell<u64>,
    answered: Cell<bool>,
}

impl Moved {
    /// So much of the answer was handed over.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.answered.set(true);
        self.add(bytes);
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.0.answered.get()
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.set(self.bytes().saturating_add(bytes as u64));
    }

    fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }
}

struct Reader {
    payload: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
    pace: Pace,
    moved: Moved,
    /// How long the client has been waited for in this window of time, and what had moved when that began. What the store takes is
    /// not the client's fault.
    window: (Duration, u64),
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let (began, moved) = (Instant::now(), self.moved.bytes());
            let patience = self.pace.stall.min(self.pace.window.saturating_sub(self.window.0));
            let chunk = timeout(patience, self.payload.next()).await;
            if let Ok(Some(Ok(chunk))) = &chunk {
                self.moved.add(chunk.len());
            }
            self.check(began.elapsed(), moved)?;
            return match chunk {
                Err(_) => continue,
                Ok(None) => Ok(None),
                Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
                Ok(Some(Err(error))) => {
                    let detail = "the body broke off or is framed wrongly; lines without an outcome were not taken";
                    Err(Problem::new(Code::UnreadableBody, detail).with_cause(error.to_string()))
                }
            };
        }
    }

    /// After so long a wait, before which so much had moved.
    fn check(&mut self, waited: Duration, moved: u64) -> Result<(), Problem> {
        let now = self.moved.bytes();
        if waited >= self.pace.stall && now == moved {
            return Err(too_slow());
        }
        self.window.0 += waited;
        if self.window.0 >= self.pace.window {
            if self.pace.is_too_slow(now - self.window.1) {
                return Err(too_slow());
            }
            self.window = (Duration::ZERO, now);
        }
        Ok(())
    }
}

fn too_slow() -> Problem {
    Problem::new(Code::RequestTimeout, "the body came too slowly; lines without an outcome were not taken")
}
