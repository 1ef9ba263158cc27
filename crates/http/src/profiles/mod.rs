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
    http::{StatusCode, header},
};
use profile_application::{App, Deadline, ProfileBody};
use profile_domain::{Expect, ProfileId, TenantId};

use crate::{
    conditional::{self, Condition},
    problem::{Code, Problem},
};

/// The id in the path. What is no UUID names no profile, so it is the same 404; for the same reason it is looked at last.
fn id(request: &HttpRequest) -> Result<ProfileId, Problem> {
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
            let body = app.read_profile(tenant, id, deadline).await?;
            let problem = Problem::new(Code::PreconditionFailed, "If-None-Match: * expects that there is none, and there is one");
            Err(problem.with_header(header::ETAG, conditional::etag(body.version)))
        }
    }
}
