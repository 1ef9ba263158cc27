//! `GET /aggregated-data`: sections about a customer, each from sources of its own.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use profile_application::{App, Question};
use profile_domain::views::{Period, Section, ViewName};

use crate::{
    caller::Caller,
    problem::{Code, Problem},
    profiles,
    query::{Parameters, invalid},
    schema,
    settings::Settings,
};

/// The longest id of a customer.
const MAX_ID_BYTES: usize = 128;

#[utoipa::path(
    get, path = "/aggregated-data", tag = "views", operation_id = "readCustomer", summary = "Read what is known of a customer",
    description = "A section whose sources all failed is null, and `error` says so; the answer then is 200 all the same, as long \
        as one section is there.",
    params(schema::CustomerParameters, schema::ConsistencyToken),
    responses((status = 200, description = "The sections that were asked for", body = schema::Customer))
)]
pub(crate) async fn read(
    request: HttpRequest,
    caller: Caller,
    app: Data<App>,
    settings: Data<Settings>,
) -> Result<HttpResponse, Problem> {
    let mut question = question(Parameters::of(&request)?)?;
    question.traceparent = super::traceparent(&request);
    let deadline = settings.deadline();
    // Only what is a UUID names a profile that a write could have been of.
    let freshness = profiles::freshness(&request, &app, &caller.tenant, question.id.parse().ok(), deadline).await?;
    let answer = app.read_view(&caller.tenant, question, freshness, deadline).await;
    answer.map(super::answer).map_err(|error| super::problem(error, Code::CustomerNotFound, Code::PartialDataFetch))
}

fn question(mut parameters: Parameters) -> Result<Question, Problem> {
    let id = parameters.take("customer_id")?.ok_or_else(|| invalid("customer_id", "is missing"))?;
    let sections = match parameters.take("data_type")?.as_deref() {
        None | Some("all") => ViewName::Customer.sections().to_vec(),
        Some("customer") => vec![Section::Customer],
        Some("master") => vec![Section::Master],
        Some("transaction") => vec![Section::Transaction],
        Some(_) => return Err(invalid("data_type", "must be all, customer, master or transaction")),
    };
    let period = parameters.take("timestamp")?.map(|text| text.parse::<Period>());
    let period = period.transpose().map_err(|error| invalid("timestamp", error))?;
    parameters.end()?;
    if !(1..=MAX_ID_BYTES).contains(&id.len()) || id.chars().any(char::is_control) {
        return Err(invalid("customer_id", format!("must have 1–{MAX_ID_BYTES} bytes, no control characters among them")));
    }
    Ok(Question { view: ViewName::Customer, sections, id, period, traceparent: None })
}
