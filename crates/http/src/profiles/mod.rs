//! Profiles: one file for each operation, and what their answers have in common.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod replace;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderName},
    },
};
use profile_application::{App, ConsistencyToken, Deadline, Freshness, ProfileBody};
use profile_domain::{Expect, ProfileId, TenantId};

use crate::{
    conditional::{self, Condition},
    problem::{Code, Problem},
};

/// What a write gives, and a read that must show it brings.
const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("x-consistency-token");

/// The id in the path. What is no UUID names no profile, so it is the same 404; for the same reason it is looked at last.
pub(crate) fn id(request: &HttpRequest) -> Result<ProfileId, Problem> {
    request.match_info().query("id").parse().map_err(|_| Problem::not_found())
}

/// An answer that shows one profile: its client may keep it, and asks each time whether it still holds.
fn answer(status: StatusCode, body: &ProfileBody) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    if status != StatusCode::NOT_MODIFIED {
        answer.content_type("application/json");
    }
    answer
        .insert_header((header::ETAG, conditional::etag(body.version)))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "X-Tenant-ID"));
    answer
}

/// With what a write tells later reads.
fn give(answer: &mut HttpResponseBuilder, token: Option<ConsistencyToken>) {
    if let Some(ConsistencyToken(token)) = token {
        answer.insert_header((CONSISTENCY_TOKEN, token));
    }
}

/// What a read of a profile, or of many, must show.
pub(crate) async fn freshness(
    request: &HttpRequest,
    app: &App,
    tenant: &TenantId,
    id: Option<ProfileId>,
    deadline: Deadline,
) -> Result<Freshness, Problem> {
    let mut tokens = request.headers().get_all(&CONSISTENCY_TOKEN);
    let Some(token) = tokens.next() else { return Ok(Freshness::Recent) };
    if tokens.next().is_some() {
        return Err(Problem::new(Code::InvalidToken, "X-Consistency-Token is given twice: send the one of the latest write"));
    }
    // What is no text was not made here either.
    Ok(app.freshness(tenant, id, Some(token.to_str().unwrap_or_default()), deadline).await?)
}

/// What the store shall expect of the profile. `If-None-Match: *` ends here: there is one (412), or there is none (404).
async fn expect(
    request: &HttpRequest,
    app: &App,
    tenant: &TenantId,
    id: ProfileId,
    deadline: Deadline,
) -> Result<Expect, Problem> {
    match conditional::condition(request)? {
        Condition::Expect(expect) => Ok(expect),
        Condition::NoneExists => {
            let (body, _) = app.read_profile(tenant, id, Freshness::Current, deadline).await?;
            let problem = Problem::new(Code::PreconditionFailed, "If-None-Match: * expects that there is none, and there is one");
            Err(problem.with_header(header::ETAG, conditional::etag(body.version)))
        }
    }
}
