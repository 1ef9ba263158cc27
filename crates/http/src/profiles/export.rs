//! `GET /api/v1/profiles/export`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentDisposition, DispositionParam, DispositionType},
    web::Data,
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream, Peekable},
};
use profile_application::{App, StoreError};
use tracing::Span;

use crate::{caller::Caller, ndjson::NDJSON, problem::Problem, query, schema, settings::Settings};

/// Lines are sent together, in about so many bytes.
const CHUNK_BYTES: usize = 32 * 1024;

#[utoipa::path(
    get, path = "/api/v1/profiles/export", tag = "profiles", operation_id = "exportProfiles", summary = "Export all profiles",
    description = "Every profile of the tenant as of one moment, one to a line, with all that is kept of it: each fact of each \
        source, those that lost too, and the tombstones of the deleted. `profile-service import --restore` takes it back, into \
        any kind of store.\n\n\
        An export that can't be finished is broken off: the body then lacks its end (the last chunk, in HTTP/1.1), and clients \
        report that. The connection is closed as well where its client reads less than 1 KiB/s over 30 seconds, or nothing for \
        15.",
    responses((
        status = 200, description = "Lines of JSON; each is one profile", body = schema::ExportedProfile,
        content_type = "application/x-ndjson",
        headers(("Content-Disposition" = String, description = "Suggests a name for a file")),
    ))
)]
pub(crate) async fn export(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let lines = app.export_profiles(&caller.tenant, settings.deadline()).await?;
    let chunks = Chunks { lines: begin(lines).await?, ended: false, span: Span::current() };
    let name = format!("profiles-{}.ndjson", caller.tenant);
    let disposition =
        ContentDisposition { disposition: DispositionType::Attachment, parameters: vec![DispositionParam::Filename(name)] };
    let mut answer = HttpResponse::Ok();
    answer.content_type(NDJSON).insert_header(disposition).insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(answer.streaming(chunks))
}

type Lines = BoxStream<'static, Result<Bytes, StoreError>>;

/// Waits for the first line, so that what fails at once is an ordinary problem.
async fn begin(lines: Lines) -> Result<Peekable<Lines>, StoreError> {
    let mut lines = lines;
    match lines.next().await {
        None => Ok(stream::empty().boxed().peekable()),
        Some(Err(error)) => Err(error),
        Some(first) => Ok(stream::once(async { first }).chain(lines).boxed().peekable()),
    }
}

/// Lines, gathered into chunks.
struct Chunks {
    lines: Peekable<Lines>,
    ended: bool,
    span: Span,
}

/// The connection is closed without the end of the body; why is in the log.
#[derive(Debug)]
struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the export was broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Stream for Chunks {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut chunk = BytesMut::new();
        while !self.ended && chunk.len() < CHUNK_BYTES {
            match self.lines.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(line))) => chunk.extend_from_slice(&line),
                Poll::Ready(Some(Err(error))) => {
                    let cause = &error as &dyn std::error::Error;
                    self.span.in_scope(|| tracing::error!(cause, "an export was broken off"));
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(chunk.freeze())).filter(|chunk| !matches!(chunk, Ok(bytes) if bytes.is_empty())))
    }
}
