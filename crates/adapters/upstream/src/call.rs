//! One call of a source: what is sent, and how its answer is read.

use profile_domain::json::{self, JsonError};
use profile_ports::{Ask, SourceError};
use reqwest::{
    Response, StatusCode,
    header::{self, HeaderName},
};
use serde_json::Value;

use crate::{
    guard::{Guarded, Refused},
    source::SourceSettings,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The document; `None` where the source knows nothing.
pub(crate) async fn call(client: &Guarded, source: &SourceSettings, ask: &Ask<'_>) -> Result<Option<Value>, SourceError> {
    let Some(url) = source.url.fill(ask) else { return Ok(None) };
    let request = client.request(source.method.into(), url).map_err(|refused| SourceError::Forbidden(refused.into()))?;
    let mut request = request.header(header::ACCEPT, "application/json");
    for (name, value) in &source.headers {
        request = request.header(name, value);
    }
    if let Some(traceparent) = ask.traceparent {
        request = request.header(TRACEPARENT, traceparent);
    }
    if let Some(body) = &source.body {
        let id = serde_json::to_string(ask.id).unwrap_or_default();
        request = request.header(header::CONTENT_TYPE, "application/json").body(body.replace("\"{id}\"", &id));
    }
    let answer = request.send().await.map_err(unreachable)?;
    match answer.status() {
        StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        status if status.is_success() => {
            let body = read(answer, source.max_bytes).await?;
            json::parse(&body).map(Some).map_err(unreadable)
        }
        status => Err(SourceError::Status(status.as_u16())),
    }
}

/// The body, as it comes out of decompression: never more than is taken and what comes at once.
async fn read(mut answer: Response, most: usize) -> Result<Vec<u8>, SourceError> {
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    if announced > most {
        return Err(SourceError::TooLarge);
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > most {
            return Err(SourceError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> SourceError {
    // Its URL holds the id of whom it was asked about.
    let error = error.without_url();
    match Refused::in_error(&error) {
        Some(refused) => SourceError::Forbidden(refused.into()),
        None if error.is_timeout() => SourceError::TimedOut,
        None if error.is_decode() => SourceError::Unreadable(error.into()),
        None => SourceError::Unreachable(error.into()),
    }
}

/// Where it broke, without the name of a member, which may be a person's.
fn unreadable(error: JsonError) -> SourceError {
    SourceError::Unreadable(match error {
        JsonError::Duplicate { .. } => "a member is given twice".into(),
        JsonError::Inexact { why, .. } => why.into(),
        other => other.into(),
    })
}
