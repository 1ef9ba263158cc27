//! What views look like.
#![expect(clippy::struct_field_names, reason = "the names are those that clients see")]

use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IdParameter {
    /// The profile's id.
    id: Uuid,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainView {
    /// Asks the sources anew and adds `explain`: for each field the rule, the fact that won and the others; for each source what
    /// became of it.
    #[param(required = false, nullable = false)]
    explain: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CustomerParameters {
    /// The customer's id, as its sources know it.
    #[param(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    customer_id: String,
    /// The section that is wanted.
    #[param(required = false, nullable = false, inline)]
    data_type: DataType,
    /// An RFC 3339 time, up to and with which, or an interval: two of them joined by `/`, both part of it. It is passed to the
    /// sources, and transactions of other times are left out.
    #[param(required = false, nullable = false, example = "2026-01-01T00:00:00Z/2026-01-31T23:59:59Z")]
    timestamp: String,
}

/// A section of what is known of a customer, or all.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataType {
    All,
    Customer,
    Master,
    Transaction,
}

/// What is known of a customer: the sections that were asked for. One that failed is null; one of which nothing is known, too.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Customer {
    #[schema(required = false)]
    customer_info: Option<CustomerInfo>,
    #[schema(required = false)]
    master_data: Option<MasterData>,
    #[schema(required = false)]
    transaction_data: Option<TransactionData>,
    /// There where a section failed.
    #[schema(required = false, nullable = false)]
    error: PartialDataFetch,
}

/// Who the customer is.
#[derive(Deserialize, ToSchema)]
pub(crate) struct CustomerInfo {
    customer_id: String,
    name: Value,
    email: Value,
    preferences: Preferences,
}

/// What the customer prefers.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Preferences {
    language: Value,
    currency: Value,
}

/// What there is to buy.
#[derive(Deserialize, ToSchema)]
pub(crate) struct MasterData {
    products: Vec<Product>,
    categories: Vec<Category>,
}

/// A product.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Product {
    product_id: Value,
    name: Value,
    price: Value,
}

/// A category.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Category {
    category_id: Value,
    category_name: Value,
}

/// What the customer bought.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TransactionData {
    transactions: Vec<Transaction>,
}

/// A purchase.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Transaction {
    transaction_id: Value,
    amount: Value,
    date: Value,
    status: Value,
}

/// That something is missing.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PartialDataFetch {
    /// `PARTIAL_DATA_FETCH`.
    code: String,
    message: String,
    /// The sections whose sources answered.
    available_services: Vec<String>,
    /// Seconds after which the same request may fare better.
    retry_after: u32,
}
