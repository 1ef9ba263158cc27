//! Drafts and plans: who gets which address, and what a store must write.

use std::collections::HashMap;

use profile_domain::{
    Changeset, Entity, EntityKey, EntityWrite, Expect, Intent, ItemOutcome, Policy, Reference, Refusal, Rejection,
    plan::{ChangeKind, Draft, Plan},
    text::{EmailAddress, EmailKey},
};
use serde_json::json;

use crate::given::{changeset, fact, object, organization, profile, version, write};

/// A small store: what is known, and who holds which address.
#[derive(Default)]
struct Known {
    entities: HashMap<EntityKey, Entity>,
    holders: HashMap<EmailKey, Reference>,
}

impl Known {
    /// Profiles 1, 2, … with these addresses.
    fn profiles(addresses: &[&str]) -> Self {
        let mut known = Self::default();
        for (number, address) in (1..).zip(addresses) {
            let plan = known.settle(&changeset([person(&profile(number), address)])).expect("free addresses");
            known.take_over(plan);
        }
        known
    }

    fn settle(&self, changeset: &Changeset) -> Result<Plan, Refusal> {
        let policy = Policy::default();
        Draft::new(changeset, &self.entities, &policy)?.settle(&self.holders)
    }

    fn take_over(&mut self, plan: Plan) {
        for (email, holder) in plan.released {
            assert_eq!(self.holders.remove(&email), Some(holder), "what is released was held");
        }
        for (email, taker) in plan.taken {
            assert_eq!(self.holders.insert(email, taker), None, "what is taken is free");
        }
        for change in plan.changes {
            assert_eq!(change.before, self.entities.get(&change.key).map(|entity| entity.version));
            self.entities.insert(change.key, change.after);
        }
    }

    fn outcomes(&mut self, writes: impl IntoIterator<Item = EntityWrite>) -> Vec<ItemOutcome> {
        let plan = self.settle(&changeset(writes)).expect("nothing required");
        let outcomes = plan.receipt.outcomes.iter().map(|item| item.outcome.clone()).collect();
        self.take_over(plan);
        outcomes
    }

    /// Who holds these addresses, by number.
    fn holders(&self, addresses: &[&str]) -> Vec<Option<u128>> {
        let number = |holder: &Reference| (1..10).find(|number| profile(*number).reference == *holder).expect("a small number");
        addresses.iter().map(|address| self.holders.get(&email(address)).map(number)).collect()
    }
}

fn email(address: &str) -> EmailKey {
    EmailAddress::parse(address).expect("an address").key()
}

fn person(key: &EntityKey, address: &str) -> EntityWrite {
    write(key, Intent::Replace(object(json!({"name": "N", "email": address}))))
}

fn required(write: EntityWrite) -> EntityWrite {
    EntityWrite { required: true, ..write }
}

const TAKEN: ItemOutcome = ItemOutcome::Rejected(Rejection::EmailTaken);

fn updated(number: i64) -> ItemOutcome {
    ItemOutcome::Updated(version(number))
}

#[test]
fn addresses_swap_and_rotate_within_one_changeset() {
    let [a, b, c] = ["a@x.y", "b@x.y", "c@x.y"];
    let mut known = Known::profiles(&[a, b, c]);
    assert_eq!(known.outcomes([person(&profile(1), "B@x.y"), person(&profile(2), a)]), [updated(2), updated(2)]);
    assert_eq!(known.holders(&[a, b, c]), [Some(2), Some(1), Some(3)]);
    known.outcomes([person(&profile(1), c), person(&profile(3), a), person(&profile(2), b)]);
    assert_eq!(known.holders(&[a, b, c]), [Some(3), Some(2), Some(1)]);
}

#[test]
fn a_taken_address_rejects_the_write_and_a_required_one_refuses_the_changeset() {
    let mut known = Known::profiles(&["a@x.y", "b@x.y"]);
    let writes = || [write(&organization(), Intent::Merge(vec![fact("n", "crm", 0, 1)])), person(&profile(3), "A@x.y")];
    let [first, second] = writes();
    let refusal = known.settle(&changeset([first, required(second)]));
    assert_eq!(refusal.err(), Some(Refusal { index: 1, rejection: Rejection::EmailTaken }));
    assert_eq!(known.outcomes(writes()), [ItemOutcome::Created(version(1)), TAKEN]);
    assert!(!known.entities.contains_key(&profile(3)));
}

#[test]
fn of_two_takers_in_one_changeset_the_first_has_the_better_claim() {
    let mut known = Known::default();
    assert_eq!(
        known.outcomes([person(&profile(2), "a@x.y"), person(&profile(1), "a@x.y")]),
        [ItemOutcome::Created(version(1)), TAKEN]
    );
    assert_eq!(known.holders(&["a@x.y"]), [Some(2)]);
}

#[test]
fn a_rejected_release_rejects_whoever_counted_on_it_down_the_chain() {
    let addresses = ["a@x.y", "b@x.y", "c@x.y"];
    let mut known = Known::profiles(&addresses);
    let chain = [person(&profile(4), "c@x.y"), person(&profile(3), "b@x.y"), person(&profile(2), "a@x.y")];
    assert_eq!(known.outcomes(chain), [TAKEN, TAKEN, TAKEN]);
    assert_eq!(known.holders(&addresses), [Some(1), Some(2), Some(3)]);

    // With the first of the chain moving, all can.
    let chain =
        [person(&profile(4), "c@x.y"), person(&profile(3), "b@x.y"), person(&profile(2), "a@x.y"), person(&profile(1), "d@x.y")];
    assert_eq!(known.outcomes(chain), [ItemOutcome::Created(version(1)), updated(2), updated(2), updated(2)]);
    assert_eq!(known.holders(&addresses), [Some(2), Some(3), Some(4)]);
}

#[test]
fn a_deletion_releases_its_address_to_a_write_of_the_same_changeset_and_to_its_own_next_life() {
    let mut known = Known::profiles(&["a@x.y"]);
    known.outcomes([person(&profile(2), "a@x.y"), write(&profile(1), Intent::Delete)]);
    assert_eq!(known.holders(&["a@x.y"]), [Some(2)]);
    known.outcomes([write(&profile(2), Intent::Delete), person(&profile(2), "A@x.y")]);
    assert_eq!(known.holders(&["a@x.y"]), [Some(2)]);
}

#[test]
fn an_address_that_only_passes_through_is_neither_taken_nor_kept() {
    let mut known = Known::profiles(&["a@x.y", "b@x.y"]);
    let through = [person(&profile(1), "b@x.y"), person(&profile(1), "c@x.y")];
    assert_eq!(known.outcomes(through), [updated(2), updated(3)]);
    assert_eq!(known.holders(&["a@x.y", "b@x.y", "c@x.y"]), [None, Some(2), Some(1)]);
    let there_and_back = [person(&profile(1), "b@x.y"), person(&profile(1), "c@x.y")];
    assert_eq!(known.outcomes(there_and_back), [updated(4), updated(5)]);
    assert_eq!(known.holders(&["b@x.y", "c@x.y"]), [Some(2), Some(1)]);
}

#[test]
fn streams_and_other_types_reserve_nothing() {
    let mut known = Known::profiles(&["a@x.y"]);
    let facts = |from: &str| Intent::Merge(vec![fact("email", from, 0, "a@x.y")]);
    let outcomes = known.outcomes([
        write(&profile(2), facts("crm")),
        write(&organization(), facts("api")),
        write(&profile(3), facts("api")),
    ]);
    assert_eq!(outcomes, [ItemOutcome::Created(version(1)), ItemOutcome::Created(version(1)), TAKEN]);
    assert_eq!(known.holders(&["a@x.y"]), [Some(1)]);
}

#[test]
fn a_draft_names_every_address_whose_holder_matters_in_order() {
    let known = Known::profiles(&["b@x.y", "c@x.y"]);
    let policy = Policy::default();
    let moves = changeset([person(&profile(1), "A@x.y"), person(&profile(9), "d@x.y")]);
    let draft = Draft::new(&moves, &known.entities, &policy).expect("nothing required");
    let named: Vec<_> = draft.email_keys().into_iter().map(|key| key.as_str().to_owned()).collect();
    assert_eq!(named, ["a@x.y", "b@x.y", "d@x.y"]);
    assert!(!draft.is_unchanged());

    let same = changeset([person(&profile(1), "b@x.y"), write(&profile(8), Intent::Delete)]);
    assert!(Draft::new(&same, &known.entities, &policy).expect("nothing required").is_unchanged());
}

#[test]
fn a_plan_holds_what_must_be_written_and_nothing_for_what_is_unchanged() {
    let known = Known::profiles(&["a@x.y", "b@x.y"]);
    let writes = [
        person(&profile(2), "b@x.y"),
        write(&organization(), Intent::Merge(vec![fact("plan", "crm", 0, "pro")])),
        write(&profile(1), Intent::Patch { fields: object(json!({"plan": "pro"})), clear_attributes: false }),
        write(&profile(1), Intent::Delete),
    ];
    let plan = known.settle(&changeset(writes)).expect("nothing required");
    let keys: Vec<_> = plan.changes.iter().map(|change| change.key.clone()).collect();
    assert_eq!(keys, [organization(), profile(1)], "in the order of keys, without the unchanged");

    let [created, deleted] = plan.changes.as_slice() else { panic!("two changes") };
    assert_eq!((created.before, created.was_living, created.birth, created.ended_life), (None, false, Some(0), false));
    assert_eq!((created.keys_added.len(), created.keys_removed.len()), (1, 0));
    assert_eq!(
        created.feed.iter().map(|entry| (entry.version, entry.kind)).collect::<Vec<_>>(),
        [(version(1), ChangeKind::Created)]
    );
    assert_eq!(created.feed[0].changes, object(json!({"plan": {"new": "pro"}})));

    assert_eq!((deleted.before, deleted.was_living, deleted.birth, deleted.ended_life), (Some(version(1)), true, None, true));
    assert_eq!((deleted.keys_added.len(), deleted.keys_removed.len()), (0, 1), "the address was its only search row");
    let feed: Vec<_> = deleted.feed.iter().map(|entry| (entry.version, entry.kind, entry.changes.len())).collect();
    assert_eq!(feed, [(version(2), ChangeKind::Updated, 0), (version(3), ChangeKind::Deleted, 0)], "blanked at once");
    assert_eq!(plan.released.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a@x.y"]);
    assert_eq!(plan.taken, []);
    assert_eq!(plan.receipt.states.len(), 3, "every entity named that there is");
}

#[test]
fn expectations_hold_for_what_earlier_writes_left() {
    let known = Known::profiles(&["a@x.y"]);
    let expecting = |expect: Expect| EntityWrite { expect, ..person(&profile(1), "a@x.y") };
    let one =
        |expect: Expect| known.settle(&changeset([expecting(expect)])).expect("not required").receipt.outcomes[0].outcome.clone();
    let unchanged = ItemOutcome::Unchanged(Some(version(1)));
    assert_eq!(one(Expect::Present), unchanged);
    assert_eq!(one(Expect::Version(vec![version(7), version(1)])), unchanged);
    assert_eq!(one(Expect::Version(vec![version(2)])), ItemOutcome::Rejected(Rejection::VersionConflict { actual: version(1) }));
    assert_eq!(one(Expect::Absent), ItemOutcome::Rejected(Rejection::Exists(version(1))));

    let gone = [write(&profile(1), Intent::Delete), expecting(Expect::Version(vec![version(2)])), expecting(Expect::Absent)];
    let plan = known.settle(&changeset(gone)).expect("not required");
    let outcomes: Vec<_> = plan.receipt.outcomes.into_iter().map(|item| item.outcome).collect();
    let absent = ItemOutcome::Rejected(Rejection::Absent);
    assert_eq!(outcomes, [ItemOutcome::Deleted(version(2)), absent, ItemOutcome::Created(version(3))]);
    assert!(plan.changes[0].was_living && plan.changes[0].birth == Some(0) && plan.changes[0].ended_life);
}
