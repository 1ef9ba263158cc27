//! Every failure, in one shape: `application/problem+json` (RFC 9457) with a stable code. The one place that knows statuses.

use std::{borrow::Cow, error::Error, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use profile_application::{ListError, RETRY_AFTER, ReadError, StoreError, WriteError, causes};
use profile_domain::{
    Rejection,
    profile::{DocumentError, FieldProblem},
};
use serde_json::{Map, Value, json};

use crate::conditional;

macro_rules! table {
    ($($code:ident $status:ident $text:literal $title:literal;)*) => {
        /// What went wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code { $($code),* }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$code),*];

            fn row(self) -> (StatusCode, &'static str, &'static str) {
                match self { $(Self::$code => (StatusCode::$status, $text, $title)),* }
            }
        }
    };
}

table! {
    RouteNotFound         NOT_FOUND               "ROUTE_NOT_FOUND"          "There is no such route";
    MethodNotAllowed      METHOD_NOT_ALLOWED      "METHOD_NOT_ALLOWED"       "The route does not take this method";
    InvalidTenant         BAD_REQUEST             "INVALID_TENANT"           "The tenant is malformed";
    InvalidHeader         BAD_REQUEST             "INVALID_HEADER"           "A header is malformed";
    InvalidParameter      BAD_REQUEST             "INVALID_PARAMETER"        "A query parameter is malformed";
    InvalidToken          BAD_REQUEST             "INVALID_TOKEN"            "The consistency token is not valid";
    InvalidId             BAD_REQUEST             "INVALID_ID"               "The id is malformed";
    InvalidCursor         BAD_REQUEST             "INVALID_CURSOR"           "The cursor is not valid here";
    MissingBody           BAD_REQUEST             "MISSING_BODY"             "The request has no body";
    UnreadableBody        BAD_REQUEST             "UNREADABLE_BODY"          "The body could not be read";
    InvalidJson           BAD_REQUEST             "INVALID_JSON"             "The body is not JSON";
    DuplicateMember       BAD_REQUEST             "DUPLICATE_MEMBER"         "A member is given twice";
    JsonTooDeep           BAD_REQUEST             "JSON_TOO_DEEP"            "The body is nested too deep";
    UnknownMember         BAD_REQUEST             "UNKNOWN_MEMBER"           "The body has unknown members";
    RequestTimeout        REQUEST_TIMEOUT         "REQUEST_TIMEOUT"          "The body took too long to arrive";
    BodyTooLarge          PAYLOAD_TOO_LARGE       "BODY_TOO_LARGE"           "The body is too large";
    UnsupportedMediaType  UNSUPPORTED_MEDIA_TYPE  "UNSUPPORTED_MEDIA_TYPE"   "The body's media type is not supported";
    ValidationFailed      UNPROCESSABLE_ENTITY    "VALIDATION_FAILED"        "Some fields are invalid";
    DatedAhead            UNPROCESSABLE_ENTITY    "DATED_AHEAD"              "A fact is dated too far ahead";
    IdempotencyKeyReused  UNPROCESSABLE_ENTITY    "IDEMPOTENCY_KEY_REUSED"   "The idempotency key belongs to another request";
    IdempotencyInProgress CONFLICT                "IDEMPOTENCY_IN_PROGRESS"  "The same request is in progress";
    NotFound              NOT_FOUND               "NOT_FOUND"                "There is no such profile";
    TaskNotFound          NOT_FOUND               "TASK_NOT_FOUND"           "There is no such task";
    TaskEnded             CONFLICT                "TASK_ENDED"               "The task has ended";
    TaskNotDead           CONFLICT                "TASK_NOT_DEAD"            "The task is not dead";
    LinkNotValid          FORBIDDEN               "LINK_NOT_VALID"           "The link is not valid";
    CustomerNotFound      NOT_FOUND               "CUSTOMER_NOT_FOUND"       "No source knows this customer";
    ViewNotConfigured     NOT_FOUND               "VIEW_NOT_CONFIGURED"      "The view has no sources";
    AlreadyExists         CONFLICT                "ALREADY_EXISTS"           "The profile exists already";
    EmailTaken            CONFLICT                "EMAIL_TAKEN"              "The e-mail address is taken";
    VersionConflict       PRECONDITION_FAILED     "VERSION_CONFLICT"         "The profile is at another version";
    PreconditionFailed    PRECONDITION_FAILED     "PRECONDITION_FAILED"      "A precondition does not hold";
    Internal              INTERNAL_SERVER_ERROR   "INTERNAL"                 "Something went wrong here";
    Unavailable           SERVICE_UNAVAILABLE     "UNAVAILABLE"              "The service is unavailable for the moment";
    CommitUnknown         SERVICE_UNAVAILABLE     "COMMIT_UNKNOWN"           "Whether the write was done is unknown";
    SourcesUnavailable    SERVICE_UNAVAILABLE     "SOURCES_UNAVAILABLE"      "No source answered";
    PartialDataFetch      SERVICE_UNAVAILABLE     "PARTIAL_DATA_FETCH"       "Data of some sources is missing";
    NotReady              SERVICE_UNAVAILABLE     "NOT_READY"                "The service is not ready for traffic";
    StorageFull           INSUFFICIENT_STORAGE    "STORAGE_FULL"             "The storage is full";
}

impl Code {
    pub(crate) fn status(self) -> StatusCode {
        self.row().0
    }

    pub(crate) fn text(self) -> &'static str {
        self.row().1
    }

    pub(crate) fn title(self) -> &'static str {
        self.row().2
    }

    /// Seconds after which the same request may fare better.
    pub(crate) fn retry_after(self) -> Option<u32> {
        match self {
            Self::SourcesUnavailable | Self::PartialDataFetch => Some(RETRY_AFTER),
            Self::Unavailable | Self::CommitUnknown | Self::NotReady | Self::IdempotencyInProgress => Some(1),
            _ => None,
        }
    }

    /// Whether what was sent may not have been read to its end, so that nothing can follow it on the same connection.
    fn ends_connection(self) -> bool {
        matches!(self, Self::RequestTimeout | Self::BodyTooLarge | Self::UnreadableBody)
    }
}

/// A failed request: what the client is told, and the cause that only the log is told.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    fields: Vec<FieldProblem>,
    available: Option<Vec<&'static str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// With the sentence that tells the caller what to do.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Box::new(Inner { code, detail, fields: Vec::new(), available: None, headers: Vec::new(), cause: None }))
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no profile with this id")
    }

    pub(crate) fn route_not_found() -> Self {
        Self::new(Code::RouteNotFound, "there is nothing at this path; /openapi.json lists what there is")
    }

    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "the request failed for a reason on our side; quote X-Request-ID when you report it")
            .with_cause(cause)
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub(crate) fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn with_fields(mut self, fields: Vec<FieldProblem>) -> Self {
        self.0.fields = fields;
        self
    }

    /// The parts that answered, where others didn't.
    pub(crate) fn with_available(mut self, available: Vec<&'static str>) -> Self {
        self.0.available = Some(available);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    /// The whole chain of causes, for the log alone.
    pub(crate) fn cause(&self) -> Option<String> {
        Some(causes(&**self.0.cause.as_ref()?))
    }

    /// The member `error` of the body.
    pub(crate) fn error(&self) -> Map<String, Value> {
        let Inner { code, detail, fields, available, .. } = &*self.0;
        let mut error = Map::new();
        error.insert("code".into(), code.text().into());
        error.insert("message".into(), detail.as_ref().into());
        if !fields.is_empty() {
            let field = |it: &FieldProblem| json!({"field": it.field, "code": it.code, "message": it.message});
            error.insert("fields".into(), fields.iter().map(field).collect());
        }
        if let Some(seconds) = code.retry_after() {
            error.insert("retry_after".into(), seconds.into());
        }
        if let Some(available) = available {
            error.insert("available_services".into(), json!(available));
        }
        error
    }

    pub(crate) fn body(&self) -> Value {
        let Inner { code, detail, .. } = &*self.0;
        json!({
            "type": format!("/problems/{}", code.text().to_ascii_lowercase().replace('_', "-")),
            "title": code.title(),
            "status": code.status().as_u16(),
            "detail": detail,
            "error": self.error(),
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.code.text(), self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.content_type("application/problem+json");
        answer.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.code().retry_after() {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.code().ends_connection() {
            answer.force_close();
        }
        for (name, value) in &self.0.headers {
            answer.insert_header((name.clone(), value.clone()));
        }
        answer.body(self.body().to_string())
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Absent => Self::not_found(),
            Rejection::Exists(version) => Self::new(Code::AlreadyExists, format!("there is one already, at version {version}")),
            Rejection::VersionConflict { actual } => {
                let detail = format!("it is at version {actual} now: read it again, and repeat the change on what you read");
                Self::new(Code::VersionConflict, detail).with_header(header::ETAG, conditional::etag(actual))
            }
            Rejection::EmailTaken => {
                Self::new(Code::EmailTaken, "another profile has this e-mail address").with_fields(vec![FieldProblem {
                    field: "email".into(),
                    code: "EMAIL_TAKEN",
                    message: "belongs to another profile".into(),
                }])
            }
            Rejection::Invalid(fields) => {
                Self::new(Code::ValidationFailed, "error.fields says what is wrong with which field").with_fields(fields)
            }
            ahead @ Rejection::DatedAhead { .. } => Self::new(Code::DatedAhead, ahead.to_string()),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::NotAnObject => Self::new(Code::ValidationFailed, "the body must be a JSON object"),
            DocumentError::Invalid(fields) => Rejection::Invalid(fields).into(),
            DocumentError::UnknownMembers(members) => {
                let message = "is no member of a profile; free fields go into attributes";
                let unknown = |field| FieldProblem { field, code: "UNKNOWN_MEMBER", message: message.into() };
                Self::new(Code::UnknownMember, "a profile has name, email, bio and attributes")
                    .with_fields(members.into_iter().map(unknown).collect())
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, detail) = match &error {
            StoreError::Unavailable(_) => (Code::Unavailable, "nothing was written; try again in a moment"),
            StoreError::OutcomeUnknown(_) => (
                Code::CommitUnknown,
                "the write may or may not have been done: read it back, or repeat it under the same Idempotency-Key",
            ),
            StoreError::Full(_) => (Code::StorageFull, "nothing was written; reading still works"),
            StoreError::Corrupt(_) => return Self::internal(error),
        };
        Self::new(code, detail).with_cause(error)
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(rejection) => rejection.into(),
            WriteError::Store(error) => error.into(),
            WriteError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "another body was sent with this Idempotency-Key: make a new key for a new request",
            ),
            WriteError::InProgress => Self::new(
                Code::IdempotencyInProgress,
                "a request with this Idempotency-Key is still being worked on: repeat it in a moment for its answer",
            ),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => Self::not_found(),
            ReadError::InvalidToken => Self::new(Code::InvalidToken, error.to_string()),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::InvalidCursor => Self::new(Code::InvalidCursor, error.to_string()),
            ListError::Invalid { parameter, message } => crate::query::invalid(parameter, message),
            ListError::Store(error) => error.into(),
        }
    }
}
