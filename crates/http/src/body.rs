//! Request bodies: read within limits of size and time, and parsed strictly by `domain`.

use std::{future::Future, pin::Pin, time::Instant};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    mime,
    web::Data,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use profile_domain::{
    json::{self, JsonError},
    profile::FieldProblem,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    problem::{Code, Problem},
    settings::Settings,
};

/// A JSON body. No Content-Encoding is taken: a small body that unpacks into a large one would escape the limit.
pub(crate) struct JsonBody(pub(crate) Value);

impl FromRequest for JsonBody {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            let settings = request.app_data::<Data<Settings>>().ok_or_else(|| Problem::internal("no settings in this route"))?;
            let declared = check_headers(&request, settings.max_body_bytes)?;
            let bytes = read(payload, settings).await?;
            if bytes.is_empty() {
                return Err(Problem::new(Code::MissingBody, "send a JSON object as the body"));
            }
            if !declared {
                return Err(unsupported(&request, "name the body's media type in Content-Type"));
            }
            parse(&bytes).map(Self)
        })
    }
}

/// Whether the headers declare a media type, and all they declare is taken here.
fn check_headers(request: &HttpRequest, limit: usize) -> Result<bool, Problem> {
    refuse_codings(request)?;
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let Some(media_type) = media_type(request)? else { return Ok(false) };
    let json_patch = media_type.subtype() == "json-patch";
    if media_type.type_() != mime::APPLICATION
        || !(media_type.subtype() == mime::JSON || media_type.suffix() == Some(mime::JSON))
        || (request.method() == Method::PATCH && json_patch)
    {
        return Err(unsupported(request, "the body must be JSON"));
    }
    Ok(true)
}

/// Refuses a body that would have to be unpacked.
pub(crate) fn refuse_codings(request: &HttpRequest) -> Result<(), Problem> {
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING);
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let problem = unsupported(request, "send the body without Content-Encoding");
        return Err(problem.with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    Ok(())
}

/// What the body is declared to be, if it is, in the one charset that JSON has.
pub(crate) fn media_type(request: &HttpRequest) -> Result<Option<mime::Mime>, Problem> {
    let media_type = request.mime_type().map_err(|_| unsupported(request, "Content-Type is malformed"))?;
    let charset = media_type.as_ref().and_then(|media_type| media_type.get_param(mime::CHARSET));
    if charset.is_some_and(|charset| charset != mime::UTF_8) {
        return Err(unsupported(request, "JSON is UTF-8; no other charset is taken"));
    }
    Ok(media_type)
}

/// Says what would be taken.
fn unsupported(request: &HttpRequest, detail: &'static str) -> Problem {
    let problem = Problem::new(Code::UnsupportedMediaType, detail);
    if request.method() == Method::PATCH {
        let value = HeaderValue::from_static("application/merge-patch+json, application/json");
        problem.with_header(header::HeaderName::from_static("accept-patch"), value)
    } else {
        problem.with_header(header::ACCEPT, HeaderValue::from_static("application/json"))
    }
}

async fn read(mut payload: Payload, settings: &Settings) -> Result<Bytes, Problem> {
    let started = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let left = settings.body_timeout.saturating_sub(started.elapsed());
        let chunk = match timeout(left.min(settings.body_pause), payload.next()).await {
            Err(_) => return Err(Problem::new(Code::RequestTimeout, "the body didn't arrive in time; nothing was done")),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => {
                let problem = Problem::new(Code::UnreadableBody, "the body broke off or is framed wrongly; nothing was done");
                return Err(problem.with_cause(error.to_string()));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if body.len() + chunk.len() > settings.max_body_bytes {
            return Err(too_large(settings.max_body_bytes));
        }
        body.extend_from_slice(&chunk);
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body may have at most {limit} bytes"))
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(Problem::new(Code::InvalidJson, format!("the body is not UTF-8 at byte {}", error.valid_up_to())));
    }
    json::parse(bytes).map_err(|error| match error {
        JsonError::Syntax { .. } => Problem::new(Code::InvalidJson, error.to_string()),
        JsonError::TooDeep => Problem::new(Code::JsonTooDeep, error.to_string()),
        JsonError::Duplicate { .. } => Problem::new(Code::DuplicateMember, error.to_string()),
        JsonError::Inexact { path, why } => {
            Problem::new(Code::ValidationFailed, "the body has a value that can't be kept exactly")
                .with_fields(vec![FieldProblem { field: path, code: "INEXACT", message: why.to_string() }])
        }
    })
}
