//! The description of all this for machines (OpenAPI 3.1), made from the code.
//!
//! Each handler describes what it takes and what success looks like. What else every answer has is added here: the failures an
//! operation can give, by [`failures`], the headers, and HEAD beside each GET.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use utoipa::{
    IntoParams, OpenApi,
    openapi::{
        Content, Header, Object, Ref, RefOr, Required, Response, Type,
        example::ExampleBuilder,
        header::HeaderBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, Schema},
    },
};

use crate::{
    exports, operations,
    problem::{Code, Problem},
    profiles, schema, tasks, views,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Profile Service",
        description = "Stores profiles, merged field by field from what many sources report, and serves them.\n\n\
            Every failure is `application/problem+json` (RFC 9457) with a stable `error.code`. Times are RFC 3339 in UTC. \
            HEAD is taken wherever GET is; OPTIONS is answered with 204 and `Allow` on every path. A query parameter that is \
            unknown or repeated is refused. A request's body may have 256 KiB and must be whole within 15 seconds, but for an import's.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "profiles", description = "Profiles of a tenant"),
        (name = "tasks", description = "Work for later"),
        (name = "views", description = "One answer from many sources, asked live"),
        (name = "operations", description = "For probes and for people who run the service"),
    ),
    paths(
        profiles::create::create,
        profiles::list::list,
        profiles::import::import,
        profiles::export::export,
        profiles::read::read,
        profiles::replace::replace,
        profiles::patch::patch,
        profiles::delete::delete,
        tasks::submit::submit,
        tasks::list::list,
        tasks::read::read,
        tasks::cancel::cancel,
        tasks::retry::retry,
        exports::read,
        views::profile::by_path,
        views::profile::by_query,
        views::customer::read,
        operations::health,
        operations::livez,
        operations::readyz,
        operations::metrics,
        document,
    ),
    components(schemas(schema::Problem)),
)]
struct Document;

/// The description of every route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for item in document.paths.paths.values_mut() {
        each_operation(item, finish);
        item.head = item.get.as_ref().map(head);
    }
    if let Some(components) = &mut document.components
        && let Some(RefOr::T(Schema::Object(attributes))) = components.schemas.get_mut("Attributes")
    {
        let name = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128));
        attributes.property_names = Some(Box::new(name.build().into()));
        attributes.max_properties = Some(profile_domain::profile::MAX_FIELDS);
    }
    if let Some(components) = &mut document.components
        && let Some(new_task) = components.schemas.remove("NewTask")
    {
        components.schemas.insert("NewTask".into(), schema::with_kinds(new_task));
    }
    document
}

static BYTES: LazyLock<Bytes> = LazyLock::new(|| serde_json::to_vec(&openapi()).unwrap_or_default().into());

#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "openapi", summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1", body = Value, content_type = "application/json"))
)]
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-cache")).body(BYTES.clone())
}

const STORE_READ: &[Code] = &[Code::Internal, Code::Unavailable];
const STORE_WRITE: &[Code] = &[Code::Internal, Code::Unavailable, Code::CommitUnknown, Code::StorageFull];
const ASKED: &[Code] = &[Code::InvalidTenant, Code::InvalidParameter];
const BODY: &[Code] = &[
    Code::MissingBody,
    Code::UnreadableBody,
    Code::InvalidJson,
    Code::DuplicateMember,
    Code::JsonTooDeep,
    Code::UnknownMember,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
];
const LINES: &[Code] = &[Code::InvalidHeader, Code::UnreadableBody, Code::RequestTimeout, Code::UnsupportedMediaType];
const ONE: &[Code] = &[Code::InvalidHeader, Code::NotFound];
const CONDITIONS: &[Code] = &[Code::VersionConflict, Code::PreconditionFailed];
const ONCE: &[Code] =
    &[Code::InvalidHeader, Code::IdempotencyInProgress, Code::IdempotencyKeyReused, Code::NotFound, Code::AlreadyExists];
const ONCE_TASK: &[Code] = &[Code::InvalidHeader, Code::IdempotencyInProgress, Code::IdempotencyKeyReused, Code::TaskNotFound];

const PROFILE_VIEW: &[Code] =
    &[Code::InvalidId, Code::InvalidToken, Code::NotFound, Code::ViewNotConfigured, Code::SourcesUnavailable];
const CUSTOMER_VIEW: &[Code] = &[Code::InvalidToken, Code::CustomerNotFound, Code::ViewNotConfigured, Code::PartialDataFetch];

/// What can go wrong with an operation.
fn failures(operation: &str) -> Vec<Code> {
    let sets: &[&[Code]] = match operation {
        "createProfile" => &[ASKED, BODY, ONCE, &[Code::EmailTaken], STORE_WRITE],
        "listProfiles" => &[ASKED, &[Code::InvalidCursor, Code::InvalidToken], STORE_READ],
        "listTasks" => &[ASKED, &[Code::InvalidCursor], STORE_READ],
        "readProfile" => &[ASKED, ONE, &[Code::InvalidToken, Code::VersionConflict], STORE_READ],
        "replaceProfile" | "patchProfile" => &[ASKED, BODY, ONE, CONDITIONS, &[Code::EmailTaken], STORE_WRITE],
        "importProfiles" => &[ASKED, LINES, STORE_WRITE],
        "exportProfiles" => &[ASKED, STORE_READ],
        "deleteProfile" => &[ASKED, ONE, CONDITIONS, STORE_WRITE],
        "submitTask" => &[ASKED, BODY, ONCE_TASK, STORE_WRITE],
        "readTask" => &[ASKED, &[Code::TaskNotFound], STORE_READ],
        "cancelTask" => &[ASKED, &[Code::TaskNotFound, Code::TaskEnded], STORE_WRITE],
        "retryTask" => &[ASKED, &[Code::InvalidHeader, Code::TaskNotFound, Code::TaskNotDead], STORE_WRITE],
        "readExport" => &[&[Code::InvalidParameter, Code::LinkNotValid, Code::TaskNotFound], STORE_READ],
        "readLiveProfile" | "readLiveProfileByQuery" => &[ASKED, PROFILE_VIEW, STORE_READ],
        "readCustomer" => &[ASKED, CUSTOMER_VIEW, STORE_READ],
        "readyz" => &[&[Code::NotReady, Code::Internal]],
        _ => &[&[Code::Internal]],
    };
    sets.concat()
}

fn finish(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    for code in failures(&id) {
        let status = code.status().as_str().to_owned();
        let response = operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(failure()));
        if let RefOr::T(response) = response {
            add_failure(response, code);
        }
    }
    let of_a_tenant = operation.tags.iter().flatten().any(|tag| ["profiles", "tasks", "views"].contains(&tag.as_str()));
    let parameters = operation.parameters.get_or_insert_default();
    if of_a_tenant {
        parameters.extend(schema::Tenant::into_params(|| Some(ParameterIn::Header)).into_iter().map(RefOr::T));
    }
    parameters.push(RefOr::T(request_id()));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            add_headers(response, status, &id);
        }
    }
}

fn failure() -> Response {
    let mut response = Response::default();
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.insert("application/problem+json".into(), RefOr::T(content));
    response
}

fn add_failure(response: &mut Response, code: Code) {
    let separator = if response.description.is_empty() { "" } else { " · " };
    response.description.extend([separator, "`", code.text(), "`: ", code.title()]);
    if let Some(RefOr::T(content)) = response.content.get_mut("application/problem+json") {
        let example = ExampleBuilder::new().summary(code.title()).value(Some(Problem::new(code, code.title()).body()));
        content.examples.insert(code.text().to_owned(), RefOr::T(example.build()));
    }
}

fn add_headers(response: &mut Response, status: &str, operation: &str) {
    let tagged = ["createProfile", "readProfile", "replaceProfile", "patchProfile"].contains(&operation);
    let writes = ["createProfile", "replaceProfile", "patchProfile", "deleteProfile"].contains(&operation);
    let mut add = |name: &str, header: Header| response.headers.insert(name.to_owned(), RefOr::T(header));
    add("X-Request-ID", text("The request's id, as sent or as made here."));
    if status == "201" {
        add("Location", text("The path of the new profile."));
    }
    if operation == "submitTask" && status == "202" {
        add("Location", text("The path of the task."));
    }
    if tagged && ["200", "201", "304", "412"].contains(&status) {
        add("ETag", text("Names the profile's version, for `If-Match` and `If-None-Match`."));
    }
    if writes && ["200", "201", "204"].contains(&status) {
        add("X-Consistency-Token", text("For reads that must show this write, on whatever instance they are made."));
    }
    if operation == "readProfile" && ["200", "304"].contains(&status) {
        add("Cache-Status", text("What was done to answer (RFC 9211): `hit` or why not; `detail` names the tier."));
    }
    if ["readLiveProfile", "readLiveProfileByQuery", "readCustomer"].contains(&operation) && ["200", "503"].contains(&status) {
        add("X-Unavailable-Sources", text("The sources that failed, separated by commas, if any did."));
        if status == "200" {
            add("Cache-Status", text("What was done to answer (RFC 9211): `hit`, or that sources were asked."));
        }
    }
    if Code::ALL.iter().any(|code| code.retry_after().is_some() && code.status().as_str() == status) {
        let seconds = HeaderBuilder::new().schema(Some(Object::with_type(Type::Integer)));
        add("Retry-After", seconds.description(Some("Seconds after which to try again, where that may help.")).build());
    }
}

fn text(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(Type::String))).description(Some(description)).build()
}

fn request_id() -> Parameter {
    ParameterBuilder::new()
        .name("X-Request-ID")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Names the request in answers and logs: 1–128 of A–Z, a–z, 0–9, `.`, `_` and `-`. Any other is replaced.",
        ))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// The same as GET, without a body.
fn head(get: &Operation) -> Operation {
    let mut head = get.clone();
    head.operation_id = head.operation_id.map(|id| format!("{id}Head"));
    head.summary = head.summary.map(|summary| format!("{summary}, without the body"));
    for response in head.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    head
}

fn each_operation(item: &mut PathItem, apply: fn(&mut Operation)) {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten().for_each(apply);
}
