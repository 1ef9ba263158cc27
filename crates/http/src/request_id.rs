//! `X-Request-ID`: taken or made, on every answer and in every log line of the request.

use std::rc::Rc;

use actix_web::{
    dev::ServiceRequest,
    http::header::{HeaderName, HeaderValue},
};
use uuid::Uuid;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// 1–128 of `A–Z a–z 0–9 . _ -`.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Rc<str>);

impl RequestId {
    /// The client's, if it is well-formed, else a new one.
    pub(crate) fn of(request: &ServiceRequest, new_id: fn() -> Uuid) -> Self {
        let given = request.headers().get(&HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_well_formed(text));
        Self(given.map_or_else(|| new_id().to_string().into(), Into::into))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header(&self) -> HeaderValue {
        // Checked when it was taken: always a header value.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

fn is_well_formed(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
