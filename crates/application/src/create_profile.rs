//! `POST /api/v1/profiles`: a new profile under a new id.

use profile_domain::{
    Changeset, EntityKey, EntityWrite, Expect, Fact, FieldFacts, FieldName, Idempotency, Intent, ItemOutcome, Living, Moment,
    ProfileId, Receipt, Rejection, Replay, SourceName, TenantId, json::canonical,
};
use profile_ports::Deadline;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{App, ConsistencyToken, ProfileBody, WriteError};

/// The route under which idempotency keys of this use case are kept.
const ROUTE: &str = "POST /api/v1/profiles";

/// A client's `Idempotency-Key`, already checked for its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceKey(pub String);

/// A profile that was created, by this request or by an earlier one under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The id of the new profile.
    pub reference: String,
    /// The profile as it was created.
    pub body: ProfileBody,
    /// For reads that must show it.
    pub token: Option<ConsistencyToken>,
}

impl App {
    /// Creates a profile from a checked document.
    ///
    /// With a key it happens once: a repetition gives the same answer, computed from the document and the receipt of then, and
    /// [`Rejection::Absent`] once the profile has been deleted.
    ///
    /// # Errors
    /// [`Rejection::EmailTaken`], the limits on the whole, and the others of [`WriteError`].
    pub async fn create_profile(
        &self,
        tenant: &TenantId,
        document: Map<String, Value>,
        once: Option<OnceKey>,
        deadline: Deadline,
    ) -> Result<Created, WriteError> {
        let key = EntityKey::profile(ProfileId((self.environment.new_id)()));
        let idempotency = once.map(|once| Idempotency { route: ROUTE, key: once.0, fingerprint: fingerprint(&document) });
        let intent = Intent::Replace(document.clone());
        let write = EntityWrite { key: key.clone(), intent, expect: Expect::Fresh, required: true };
        let changeset = Changeset { idempotency, ..Changeset::of((self.environment.now)(), vec![write]) };
        let before = self.reads.before_commit(tenant, &key).await;
        let receipt = self.commit_one(tenant, &key, changeset, deadline).await?;
        let mut created = answer(&receipt, document).ok_or(WriteError::Refused(Rejection::Absent))?;
        if let Some(item) = receipt.outcomes.first() {
            created.token = self.token(tenant, &item.key, created.body.version, receipt.place);
        }
        if receipt.replay == Replay::No {
            let body = created.body.clone();
            self.reads.committed(before, tenant, key, body.version, Some((body, receipt.at))).await;
        }
        Ok(created)
    }
}

/// A pure function of command and receipt, so that a replay says what was said the first time.
fn answer(receipt: &Receipt, document: Map<String, Value>) -> Option<Created> {
    if receipt.replay == Replay::Forgotten {
        return None;
    }
    let item = receipt.outcomes.first()?;
    let ItemOutcome::Created(version) = item.outcome else { return None };
    let living = newborn(document, receipt.at);
    let reference = &item.key.reference;
    Some(Created { reference: reference.to_string(), body: ProfileBody::of_living(reference, version, &living), token: None })
}

fn newborn(document: Map<String, Value>, at: Moment) -> Living {
    let fact = |value| FieldFacts::new(Fact { source: SourceName::api(), reference_date: at, value });
    let fields = document.into_iter().filter_map(|(field, value)| Some((FieldName::parse(&field).ok()?, fact(value))));
    Living { created_at: at, updated_at: at, rules_revision: 0, fields: fields.collect() }
}

fn fingerprint(document: &Map<String, Value>) -> [u8; 32] {
    Sha256::digest(canonical(&Value::Object(document.clone())).as_bytes()).into()
}
