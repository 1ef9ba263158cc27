//! Reads of many entities, each of one statement but the [export](crate::export).

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use profile_domain::{
    EntityKey, EntityType, TenantId,
    search::Filter,
    text::{EmailAddress, EmailKey},
};
use profile_ports::{Bulk, Deadline, EmailOwners, EntityStream, StoreError};
use tokio_postgres::types::Type;

use crate::{
    PostgresStore,
    row::{corrupt, get, key, reference},
    statement::Statement,
};

static EMAIL_HOLDERS: Statement =
    Statement::new("email_holders", include_str!("sql/email_holders.sql"), &[Type::TEXT, Type::TEXT_ARRAY]);

/// Rows of one e-mail that [`EMAIL_SERVING`] gives at most.
const SERVING_LIMIT: usize = 2;
static EMAIL_SERVING: Statement = Statement::new(
    "email_serving",
    include_str!("sql/email_serving.sql"),
    &[Type::TEXT, Type::TEXT, Type::INT8_ARRAY, Type::INT8_ARRAY],
);

static ANY_ENTITY: Statement =
    Statement::new("any_entity", "SELECT EXISTS (SELECT FROM entities WHERE tenant = $1) AS found", &[Type::TEXT]);

static TENANTS: Statement = Statement::new("tenants", include_str!("sql/tenants.sql"), &[]);

static OUTDATED: Statement =
    Statement::new("outdated", include_str!("sql/outdated.sql"), &[Type::TEXT, Type::TEXT, Type::TEXT, Type::INT4, Type::INT8]);

/// An e-mail of which it isn't known yet who serves it.
struct Sought {
    email: EmailKey,
    filter: Filter,
    /// The last row looked at.
    after: i64,
}

#[async_trait]
impl Bulk for PostgresStore {
    async fn email_owners(
        &self,
        tenant: &TenantId,
        emails: &[EmailKey],
        deadline: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError> {
        let emails: BTreeSet<&EmailKey> = emails.iter().collect();
        let mut owners = HashMap::<EmailKey, EmailOwners>::with_capacity(emails.len());
        let texts: Vec<&str> = emails.iter().map(|email| email.as_str()).collect();
        for row in self.pool.run(&EMAIL_HOLDERS, &[&tenant.as_str(), &texts], deadline).await? {
            owners.entry(EmailKey::from_stored(get(&row, "email_key")?)).or_default().holder = Some(reference(&row)?);
        }
        let mut sought: Vec<Sought> = emails
            .into_iter()
            .filter_map(|email| {
                let filter = Filter::email(&EmailAddress::parse(email.as_str())?);
                Some(Sought { email: email.clone(), filter, after: i64::MIN })
            })
            .collect();
        while !sought.is_empty() {
            sought = self.serving(tenant, sought, &mut owners, deadline).await?;
        }
        Ok(owners)
    }

    async fn is_empty(&self, tenant: &TenantId, deadline: Deadline) -> Result<bool, StoreError> {
        let rows = self.pool.run(&ANY_ENTITY, &[&tenant.as_str()], deadline).await?;
        let found: bool = get(rows.first().ok_or_else(|| corrupt("EXISTS gave no row"))?, "found")?;
        Ok(!found)
    }

    async fn export(&self, tenant: &TenantId, entity_type: &EntityType, deadline: Deadline) -> Result<EntityStream, StoreError> {
        self.exports.begin(&self.pool, tenant, entity_type, deadline).await
    }

    async fn tenants(&self, deadline: Deadline) -> Result<Vec<TenantId>, StoreError> {
        let rows = self.pool.run(&TENANTS, &[], deadline).await?;
        rows.iter().map(|row| TenantId::parse(get(row, "tenant")?).map_err(corrupt)).collect()
    }

    async fn outdated(
        &self,
        tenant: &TenantId,
        revision: i32,
        after: Option<&EntityKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError> {
        // No type is empty, so this lies before all.
        let (entity_type, reference) = after.map_or(("", ""), |key| (key.entity_type.as_str(), key.reference.as_str()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.pool.run(&OUTDATED, &[&tenant.as_str(), &entity_type, &reference, &revision, &limit], deadline).await?;
        rows.iter().map(key).collect()
    }
}

impl PostgresStore {
    /// Looks at the next rows of each e-mail, and gives those back that have more. That is never more than one further round,
    /// unless values collide.
    async fn serving(
        &self,
        tenant: &TenantId,
        mut sought: Vec<Sought>,
        owners: &mut HashMap<EmailKey, EmailOwners>,
        deadline: Deadline,
    ) -> Result<Vec<Sought>, StoreError> {
        let profile = EntityType::profile();
        let keys: Vec<i64> = sought.iter().map(|sought| sought.filter.key(&profile).0).collect();
        let positions: Vec<i64> = sought.iter().map(|sought| sought.after).collect();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&tenant.as_str(), &profile.as_str(), &keys, &positions];
        let mut seen = vec![0; sought.len()];
        for row in self.pool.run(&EMAIL_SERVING, &params, deadline).await? {
            let place = usize::try_from(get::<i64>(&row, "place")? - 1).map_err(corrupt)?;
            let of = sought.get_mut(place).ok_or_else(|| corrupt("a row of no e-mail"))?;
            seen[place] += 1;
            of.after = get(&row, "entity")?;
            let served = get::<Option<&str>>(&row, "email")?.and_then(EmailAddress::parse);
            if served.is_some_and(|served| served.key() == of.email) {
                let owners = owners.entry(of.email.clone()).or_default();
                if owners.serving.len() < SERVING_LIMIT {
                    owners.serving.push(reference(&row)?);
                }
            }
        }
        let mut seen = seen.into_iter();
        sought.retain(|of| {
            let found = owners.get(&of.email).map_or(0, |owners| owners.serving.len());
            seen.next() == Some(SERVING_LIMIT) && found < SERVING_LIMIT
        });
        Ok(sought)
    }
}
