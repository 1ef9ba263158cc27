//! Bodies of lines (NDJSON): of any length, read as they come, as long as they come fast enough.

use std::{
    future::{Ready, ready},
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
    /// The bytes as they come, until they end, break off, or come too slowly.
    pub(crate) fn bytes(self) -> impl Stream<Item = Result<Bytes, Problem>> + 'static {
        let reader = Reader { payload: self.payload.boxed_local(), pace: self.pace, waited: Duration::ZERO, bytes: 0 };
        stream::unfold(Some(reader), async |reader| {
            let mut reader = reader?;
            match reader.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(reader))),
                Err(problem) => Some((Err(problem), None)),
            }
        })
    }
}

struct Reader {
    payload: LocalBoxStream<'static, Result<Bytes, PayloadError>>,
    pace: Pace,
    /// For the client, in this window of time; what the store takes is not the client's fault.
    waited: Duration,
    /// What came in that window.
    bytes: u64,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let began = Instant::now();
        let patience = self.pace.stall.min(self.pace.window.saturating_sub(self.waited));
        let chunk = timeout(patience, self.payload.next()).await;
        self.waited += began.elapsed();
        let chunk = match chunk {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                let detail = "the body broke off or is framed wrongly; lines without an outcome were not taken";
                return Err(Problem::new(Code::UnreadableBody, detail).with_cause(error.to_string()));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.bytes += chunk.len() as u64;
        if self.waited >= self.pace.window {
            if self.pace.is_too_slow(self.bytes) {
                return Err(too_slow());
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(Some(chunk))
    }
}

fn too_slow() -> Problem {
    Problem::new(Code::RequestTimeout, "the body came too slowly; lines without an outcome were not taken")
}
