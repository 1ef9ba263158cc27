//! `GET /api/v1/profiles/{id}`: one profile, and with `?explain=true` why it looks as it does.

use profile_domain::{EntityKey, Fact, FieldName, ProfileId, Rule, Rules, TenantId, profile};
use profile_ports::{Deadline, StoreError};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{App, Freshness, Origin, ProfileBody};

/// Why a profile can't be shown.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is none under this id: never was, was deleted, or is another tenant's.
    #[error("there is no such profile")]
    NotFound,
    /// The consistency token wasn't made here.
    #[error("the consistency token is not valid: send one as a write returned it, or none")]
    InvalidToken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// The profile as it is served, and where it came from.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<(ProfileBody, Origin), ReadError> {
        let found = self.reads.profile(tenant, &EntityKey::profile(id), freshness, deadline).await?;
        Ok((found.body.ok_or(ReadError::NotFound)?, found.origin))
    }

    /// The profile with a member `explain`: per field the rule, the winner and the facts that lost.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn explain_profile(&self, tenant: &TenantId, id: ProfileId, deadline: Deadline) -> Result<ProfileBody, ReadError> {
        let key = EntityKey::profile(id);
        let entity = self.store.entity(tenant, &key, deadline).await?.ok_or(ReadError::NotFound)?;
        let living = entity.living.ok_or(ReadError::NotFound)?;
        let fields: Map<String, Value> = living
            .fields
            .iter()
            .map(|(field, facts)| {
                let superseded: Vec<Value> = facts.superseded.iter().map(fact).collect();
                let explained =
                    json!({"rule": rule(&self.policy.rules, field), "winner": fact(&facts.winner), "superseded": superseded});
                (profile::path(field.as_str()), explained)
            })
            .collect();
        Ok(ProfileBody::explained(&key.reference, entity.version, &living, Some(&Value::Object(fields))))
    }
}

fn fact(fact: &Fact) -> Value {
    json!({"source": fact.source.as_str(), "reference_date": fact.reference_date.to_string(), "value": fact.value})
}

fn rule(rules: &Rules, field: &FieldName) -> Value {
    let rule = rules.of(field);
    match rule {
        Rule::Newest => json!({"name": rule.name()}),
        Rule::Priority(sources) => {
            let sources: Vec<&str> = sources.iter().map(profile_domain::SourceName::as_str).collect();
            json!({"name": rule.name(), "sources": sources})
        }
    }
}
