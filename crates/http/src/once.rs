//! `Idempotency-Key`: the client's name for a request that shall happen once.

use actix_web::{HttpRequest, http::header::HeaderName};
use profile_application::OnceKey;

use crate::problem::{Code, Problem};

/// As in the IETF draft `draft-ietf-httpapi-idempotency-key-header`, but with a bare value.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The key, if the request has one.
pub(crate) fn key(request: &HttpRequest) -> Result<Option<OnceKey>, Problem> {
    let mut values = request.headers().get_all(&KEY_HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let well_formed = (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) && values.next().is_none();
    match value.to_str() {
        Ok(key) if well_formed => Ok(Some(OnceKey(key.to_owned()))),
        _ => Err(Problem::new(Code::InvalidHeader, "Idempotency-Key must be given once, as 1–255 visible ASCII characters")),
    }
}

/// Refuses a key where nothing could keep its promise, and says why.
pub(crate) fn refuse(request: &HttpRequest, detail: &'static str) -> Result<(), Problem> {
    if request.headers().contains_key(&KEY_HEADER) {
        return Err(Problem::new(Code::InvalidHeader, detail));
    }
    Ok(())
}
