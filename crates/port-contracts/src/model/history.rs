//! Random changesets and queries over few entities, addresses, sources and dates, so that they collide.

use profile_domain::{
    Changeset, Entity, EntityKey, EntityWrite, Expect, Fact, FieldFacts, FieldName, Intent, Living,
    search::{Filter, ListQuery, Order},
    text::{EmailAddress, fold},
};
use serde_json::{Map, Value, json};

use crate::{
    build::{at, changeset, everything, fact, merge, once, organization, profile, version},
    random::Random,
};

/// What a history remembers: its clock, and which idempotency keys it used for what.
pub(super) struct History {
    /// Of the rules that are in force.
    revision: i32,
    clock: i64,
    keyed: Vec<Changeset>,
}

/// A query, and what its filters ask for: paths and texts.
pub(super) struct Question {
    pub(super) query: ListQuery,
    pub(super) wanted: Vec<(&'static str, &'static str)>,
}

const CONDITIONS: [(&str, &str); 12] = [
    ("plan", "pro"),
    ("plan", "free"),
    ("plan", ""),
    ("n", "1"),
    ("n", "2.5"),
    ("n", "true"),
    ("address.city", "Bern"),
    ("address", "Bern"),
    ("bio", "x"),
    ("name", "Ada"),
    ("email", "A@example.com"),
    ("email", "c@example.com"),
];

const FIELDS: [&str; 6] = ["name", "email", "bio", "plan", "n", "address"];

impl History {
    pub(super) fn new(revision: i32) -> Self {
        Self { revision, clock: 0, keyed: Vec::new() }
    }

    /// Every entity that a history may touch.
    pub(super) fn keys() -> Vec<EntityKey> {
        (1..=5).map(profile).chain(["x", "y"].map(organization)).collect()
    }

    pub(super) fn changeset(&mut self, random: &mut Random) -> Changeset {
        // Mostly forward, sometimes not at all, sometimes back.
        self.clock += *random.pick(&[0, 0, 1, 5, 30, -10]);
        if random.percent(15) && !self.keyed.is_empty() {
            return self.repetition(random);
        }
        if random.percent(20) {
            let key = random.pick(&Self::keys()).clone();
            let writes: Vec<_> = match random.below(4) {
                0 => vec![Self::idle(&key)],
                more => (0..more).map(|_| self.keyed_write(random, &key)).collect(),
            };
            let keyed = once(&format!("key {}", self.keyed.len()), 1, changeset(self.clock, writes));
            self.keyed.push(keyed.clone());
            return keyed;
        }
        let writes: Vec<_> = (0..=random.below(4)).map(|_| self.write(random)).collect();
        changeset(self.clock, writes)
    }

    /// A key again: the same request at another time, or another request.
    fn repetition(&self, random: &mut Random) -> Changeset {
        let recent = &self.keyed[self.keyed.len().saturating_sub(3)..];
        let known = if random.percent(50) { self.keyed.as_slice() } else { recent };
        let mut again = random.pick(known).clone();
        again.now = at(self.clock);
        if random.percent(20)
            && let Some(idempotency) = &mut again.idempotency
        {
            idempotency.fingerprint = [2; 32];
        }
        again
    }

    /// Nothing to do, which a key remembers all the same.
    fn idle(key: &EntityKey) -> EntityWrite {
        let intent = Intent::Patch { fields: Map::new(), clear_attributes: false };
        EntityWrite { intent, required: true, ..merge(key, []) }
    }

    /// Changesets with a key have required writes of one entity, and no deletes or restores: what POSTs do.
    fn keyed_write(&self, random: &mut Random, key: &EntityKey) -> EntityWrite {
        loop {
            let write = EntityWrite { key: key.clone(), required: true, ..self.write(random) };
            if !matches!(write.intent, Intent::Delete | Intent::Restore(_)) {
                return write;
            }
        }
    }

    fn write(&self, random: &mut Random) -> EntityWrite {
        let key = random.pick(&Self::keys()).clone();
        let intent = match random.below(20) {
            0..=6 => Intent::Merge((0..random.below(5)).map(|_| self.fact(random)).collect()),
            7..=9 => Intent::Replace(Self::document(random)),
            10..=12 => Intent::Update(Self::patch(random)),
            13 => Intent::Restore(Box::new(self.restored(random))),
            14..=16 => Intent::Patch { fields: Self::patch(random), clear_attributes: random.percent(10) },
            _ => Intent::Delete,
        };
        let expect = match random.below(10) {
            0..=5 => Expect::Any,
            6 => Expect::Absent,
            7..=8 => Expect::Present,
            _ => Expect::Version((0..=random.below(2)).map(|_| version(1 + i64::from(random.below(6)))).collect()),
        };
        EntityWrite { intent, expect, required: random.percent(25), ..merge(&key, []) }
    }

    fn fact(&self, random: &mut Random) -> (FieldName, Fact) {
        let name = *random.pick(&FIELDS);
        let value = if random.percent(15) { Value::Null } else { Self::value(random, name) };
        let from = *random.pick(&["api", "crm", "crm", "web"]);
        let date = if random.percent(3) { 301 } else { *random.pick(&[-20, -10, -1, 0, 0, 1, 10, 250, 300]) };
        // Rounded, so that dates of different steps are often equal.
        fact(name, from, if date > 250 { self.clock + date } else { (self.clock + date) / 10 * 10 }, value)
    }

    /// A tombstone, or a life of which one source told, so that every rule has the same winners. All of it is valid.
    fn restored(&self, random: &mut Random) -> Entity {
        let version = version(1 + i64::from(random.below(4)));
        let floor = at(self.clock - 50);
        if random.percent(40) {
            return Entity { version, floor: Some(floor), living: None };
        }
        let from = *random.pick(&["api", "crm"]);
        let (name, email) = (*random.pick(&["Ada", "bob"]), *random.pick(&["a@example.com", "B@example.com"]));
        let facts = [
            fact("name", from, self.clock - 5, name),
            fact("email", from, self.clock - 10, email),
            fact("plan", from, self.clock, Self::value(random, "plan")),
            fact("n", from, self.clock, Value::Null),
        ];
        let facts = facts.into_iter().filter(|(name, fact)| name.as_str() != "plan" || fact.value.is_string());
        let fields = facts.map(|(field, fact)| (field, FieldFacts::new(fact))).collect();
        let (created_at, updated_at) = (at(self.clock - 40), at(self.clock - 1));
        let living = Living { created_at, updated_at, rules_revision: self.revision, fields };
        Entity { version, floor: random.percent(50).then_some(floor), living: Some(living) }
    }

    fn value(random: &mut Random, name: &str) -> Value {
        if random.percent(3) {
            return json!(7);
        }
        match name {
            "name" => json!(random.pick(&["Ada", "ada", "ADA B", "Zoë", "bob"])),
            "email" => json!(random.pick(&["a@example.com", "A@example.com", "b@example.com", "c@Example.com", "C@example.com"])),
            "plan" => json!(random.pick(&["pro", "free", ""])),
            "n" => random.pick(&[json!(1), json!(2), json!(2.5), json!("1"), json!(true), json!([1])]).clone(),
            "address" => {
                random.pick(&[json!({"city": "Bern"}), json!({"city": "Rom", "zip": 1}), json!({}), json!("Bern")]).clone()
            }
            _ => json!(random.pick(&["x", "y"])),
        }
    }

    fn document(random: &mut Random) -> Map<String, Value> {
        let mut document = Map::new();
        for name in FIELDS {
            if random.percent(60) {
                document.insert(name.to_owned(), Self::value(random, name));
            }
        }
        document
    }

    fn patch(random: &mut Random) -> Map<String, Value> {
        let mut patch = Map::new();
        for name in FIELDS {
            if random.percent(25) {
                let change = match (name, random.below(4)) {
                    (_, 0) => Value::Null,
                    ("address", 1) => json!({"city": null, "street": {"no": 1, "gone": null}}),
                    _ => Self::value(random, name),
                };
                patch.insert(name.to_owned(), change);
            }
        }
        patch
    }

    /// A list by any order, filters or prefix, in pages of any size.
    pub(super) fn question(random: &mut Random) -> Question {
        let whole = everything(random.pick(&Self::keys()));
        let query = ListQuery { limit: 1 + random.below(4) as usize, ..whole };
        if random.percent(40) {
            let prefixes = ["a", "Ada", "ada ", "zoë", "b", "c"];
            let name_prefix = random.percent(60).then(|| fold(random.pick::<&str>(&prefixes)));
            return Question { query: ListQuery { order: Order::Name, name_prefix, ..query }, wanted: Vec::new() };
        }
        let order = *random.pick(&[Order::Created, Order::CreatedDescending]);
        let wanted: Vec<_> = (0..random.below(4)).map(|_| *random.pick(&CONDITIONS)).collect();
        let filter = |(path, text): &(&str, &str)| match EmailAddress::parse(text) {
            Some(address) if query.entity_type.is_profile() => Filter::email(&address),
            _ => Filter::attribute(path, text),
        };
        let filters = wanted.iter().map(filter).collect();
        Question { query: ListQuery { filters, order, ..query }, wanted }
    }
}
