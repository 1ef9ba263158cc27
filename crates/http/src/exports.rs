//! `GET /api/v1/exports/{id}`: what a `profile.export` task wrote. Whoever has the link has the right.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentDisposition, DispositionParam, DispositionType},
    web::Data,
};
use futures_util::StreamExt as _;
use profile_application::{App, ExportError, ExportLink};
use profile_domain::TaskId;

use crate::{
    ndjson::NDJSON,
    problem::{Code, Problem},
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

#[utoipa::path(
    get, path = "/api/v1/exports/{id}", tag = "tasks", operation_id = "readExport", summary = "Fetch an export",
    description = "As the `result.url` of a `profile.export` task that succeeded has it. It needs nothing else, and can be used \
        for an hour; reading the task gives a new one.",
    params(schema::TaskPath, schema::ExportParameters),
    responses((
        status = 200, description = "Lines of JSON; each is one profile", body = schema::ExportedProfile,
        content_type = "application/x-ndjson",
        headers(("Content-Disposition" = String, description = "Suggests a name for a file")),
    ))
)]
pub(crate) async fn read(request: HttpRequest, app: Data<App>, settings: Data<Settings>) -> Result<HttpResponse, Problem> {
    let mut parameters = Parameters::of(&request)?;
    let expires = parameters.take("expires")?.and_then(|text| text.parse().ok());
    let expires = expires.ok_or_else(|| invalid("expires", "must be the seconds that the link has"))?;
    let signature = parameters.take("sig")?.ok_or_else(|| invalid("sig", "must be as the link has it"))?;
    parameters.end()?;
    let id: TaskId = request.match_info().query("id").parse().map_err(|_| Problem::from(ExportError::Invalid))?;
    let export = app.read_export(id, &ExportLink { expires, signature }, settings.deadline()).await?;
    let disposition = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(format!("profiles-{id}.ndjson"))],
    };
    let mut answer = HttpResponse::Ok();
    answer.content_type(NDJSON).insert_header(disposition).insert_header((header::CACHE_CONTROL, "private, no-store"));
    Ok(answer.no_chunking(export.size).streaming(export.content.map(|bytes| bytes.map_err(std::io::Error::other))))
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Invalid | ExportError::Expired => Self::new(Code::LinkNotValid, error.to_string()),
            ExportError::NotFound => Self::new(Code::TaskNotFound, error.to_string()),
            ExportError::Objects(_) => Self::new(Code::Unavailable, "exports can't be read for the moment").with_cause(error),
            ExportError::Store(error) => error.into(),
        }
    }
}
