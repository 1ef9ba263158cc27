//! Who asks. This extractor is the only source of a tenant.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::HeaderName, web::Data};
use profile_domain::TenantId;

use crate::{
    problem::{Code, Problem},
    settings::{AuthMode, Settings},
};

/// Names the tenant, where nobody has to prove who they are.
pub(crate) const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

/// On whose behalf a request is made. Scopes come with the first mode of authentication that grants any.
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let settings = request.app_data::<Data<Settings>>().ok_or_else(|| Problem::internal("no settings in this route"));
        ready(settings.and_then(|settings| match settings.auth {
            AuthMode::None => tenant_of_header(request).map(|tenant| Self { tenant }),
        }))
    }
}

fn tenant_of_header(request: &HttpRequest) -> Result<TenantId, Problem> {
    let mut values = request.headers().get_all(&TENANT_HEADER);
    match (values.next(), values.next()) {
        (None, _) => Ok(TenantId::default_tenant()),
        (Some(_), Some(_)) => Err(Problem::new(Code::InvalidTenant, "X-Tenant-ID is given twice")),
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| TenantId::parse(text).ok())
            .ok_or_else(|| Problem::new(Code::InvalidTenant, "X-Tenant-ID must be 1–63 of a–z, 0–9 and -")),
    }
}
