//! `GET /api/v1/profiles`: pages of profiles, by filter and order.

use profile_domain::{
    EntityType, EntityView, TenantId, profile,
    search::{Filter, ListQuery, MAX_FILTERS, Order, Position, SearchFields},
    text::{EmailAddress, fold},
};
use profile_ports::{Deadline, StoreError};
use thiserror::Error;

use crate::{App, Freshness, cursor, profile_body};

/// Profiles on one page, at most.
pub const MAX_LIMIT: usize = 200;

/// The orders that clients can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// `created_at`: oldest first.
    Created,
    /// `-created_at`: newest first.
    CreatedDescending,
    /// `name`: by folded name.
    Name,
}

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// 1–[`MAX_LIMIT`].
    pub limit: usize,
    /// From `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Profiles that serve this address.
    pub email: Option<String>,
    /// Profiles whose name begins like this, whatever its case.
    pub name: Option<String>,
    /// Attribute or `attribute.member` → value.
    pub attributes: Vec<(String, String)>,
    /// By creation where nothing else is said; by name where a name is given.
    pub sort: Option<Sort>,
}

/// Why there is no page.
#[derive(Debug, Error)]
pub enum ListError {
    /// The cursor was altered, or belongs to another query or tenant.
    #[error("the cursor isn't one of this list: begin again without it")]
    InvalidCursor,
    /// A parameter, and what is wrong with it.
    #[error("{parameter} {message}")]
    Invalid {
        /// As in the query string.
        parameter: &'static str,
        /// What is allowed.
        message: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The profiles as JSON, with commas in between.
    pub items: Vec<u8>,
    /// What to ask for next; `None` on the last page.
    pub next_cursor: Option<String>,
}

impl App {
    /// One page of profiles, which shows what [`Freshness`] says.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list_profiles(
        &self,
        tenant: &TenantId,
        request: &ListRequest,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Page, ListError> {
        let mut query = query(request, &self.policy.search_fields)?;
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await?;
        if let Some(text) = &request.cursor {
            let key = cursor::key_id(text).ok_or(ListError::InvalidCursor)?;
            if !self.keyring.knows(key) {
                self.keyring.reload(&*self.store, self.environment.new_secret, deadline).await?;
            }
            let position = cursor::open(&self.keyring, tenant, &query, text).ok_or(ListError::InvalidCursor)?;
            query.after = Some(position);
        }
        // One more than asked for tells whether there is a next page.
        query.limit += 1;
        let mut views = self.store.list_as_of(tenant, &query, freshness.as_of(), deadline).await?;
        let more = views.len() >= query.limit;
        views.truncate(query.limit - 1);
        let next_cursor = match views.last() {
            Some(last) if more => cursor::seal(&self.keyring, tenant, &query, &position(&query, last)),
            _ => None,
        };
        Ok(Page { items: profile_body::listed(&views)?, next_cursor })
    }
}

fn position(query: &ListQuery, view: &EntityView) -> Position {
    let name = || view.properties.get("name").and_then(|name| name.as_str().map(fold)).unwrap_or_default();
    Position { id: view.id, name_key: (query.order == Order::Name).then(name) }
}

fn query(request: &ListRequest, searchable: &SearchFields) -> Result<ListQuery, ListError> {
    let invalid = |parameter, message: String| Err(ListError::Invalid { parameter, message });
    if !(1..=MAX_LIMIT).contains(&request.limit) {
        return invalid("limit", format!("must be a number from 1 to {MAX_LIMIT}"));
    }
    let mut filters = Vec::new();
    if let Some(email) = &request.email {
        match EmailAddress::parse(email) {
            Some(address) => filters.push(Filter::email(&address)),
            None => return invalid("email", "must be an e-mail address, such as ada@example.com".into()),
        }
    }
    for (path, value) in &request.attributes {
        if path.is_empty() || profile::is_own_field(path) {
            return invalid("attr", "must name an attribute, as in attr.plan=pro".into());
        }
        if !searchable.covers(path) {
            return invalid("attr", format!("can't be searched by {path:?} here: SEARCH_FIELDS doesn't name it"));
        }
        filters.push(Filter::attribute(path, value));
    }
    if filters.len() > MAX_FILTERS {
        return invalid("attr", format!("may be used at most {MAX_FILTERS} times, email included"));
    }
    let order = match (request.sort, &request.name) {
        (Some(Sort::Name), _) | (None, Some(_)) => Order::Name,
        (Some(Sort::Created) | None, None) => Order::Created,
        (Some(Sort::CreatedDescending), None) => Order::CreatedDescending,
        (Some(_), Some(_)) => return invalid("sort", "must be name, or left out, where name is given".into()),
    };
    if order == Order::Name && !filters.is_empty() {
        return invalid("sort", "can't be name, which name= implies, together with email or attr filters".into());
    }
    let name_prefix = request.name.as_deref().filter(|name| !name.is_empty()).map(fold);
    Ok(ListQuery { entity_type: EntityType::profile(), filters, name_prefix, order, after: None, limit: request.limit })
}
