//! A plain in-memory model of a store, and random histories that store and model must answer alike.
//!
//! The model keeps every fact that was ever accepted and looks for winners, reservations and list entries by scanning. It
//! shares no rule with `domain`: two ways to the same answer, of which one is too slow to be wrong in a clever way.

mod history;
mod life;
mod values;
mod world;

use std::collections::BTreeMap;

use profile_domain::{
    Changeset, EntityView, ItemOutcome, Policy, Receipt, Rejection, Replay, Rule, Rules,
    search::{ListQuery, Order},
};
use profile_ports::CommitError;

use crate::{
    Fixture,
    build::{Client, field, source},
    random::{Random, seed},
    scaled,
};
use history::{History, Question};
use world::{Answer, World};

const STEPS: u32 = 100;

/// Random histories of commits and reads in two tenants give the same receipts, views, facts, lists and feed as the model.
/// The seed is printed, and `TEST_SEED` repeats it.
pub async fn model_agrees<F: Fixture>() {
    let seed = seed();
    eprintln!("to repeat this: TEST_SEED={seed}");
    let priority = Rule::Priority(vec![source("crm"), source("api")]);
    let fields = BTreeMap::from([(field("plan"), priority.clone()), (field("email"), priority)]);
    for rules in [Rules { revision: 3, ..Rules::default() }, Rules { revision: 4, fields, ..Rules::default() }] {
        let fixture = F::fresh(Policy { rules: rules.clone(), ..Policy::default() }).await;
        for history in 0..scaled(100) {
            run(&fixture, &rules, &mut Random::new(seed.wrapping_add(history.into())), history).await;
        }
    }
}

/// One history, in tenants of its own.
async fn run<F: Fixture>(fixture: &F, rules: &Rules, random: &mut Random, number: u32) {
    let client = Client::of(fixture);
    let mut history = History::new(rules.revision);
    let mut sides =
        ["a", "b"].map(|name| Side { client: client.as_tenant(&format!("{name}-{number}")), world: World::new(rules) });
    for step in 0..STEPS {
        let side = &mut sides[usize::from(random.percent(30))];
        if random.percent(70) {
            let changeset = history.changeset(random);
            side.commit(&changeset, &format!("history {number}, step {step}, {changeset:#?}")).await;
        } else {
            side.compare_list(&History::question(random), &format!("history {number}, step {step}")).await;
        }
    }
    for side in &sides {
        side.compare_all(fixture, &format!("history {number}")).await;
    }
}

/// One tenant in the store and in the model.
struct Side {
    client: Client,
    world: World,
}

impl Side {
    async fn commit(&mut self, changeset: &Changeset, context: &str) {
        let expected = self.world.commit(changeset);
        let answer = self.client.try_commit(changeset.clone()).await;
        if let Ok(receipt) = &answer {
            self.compare_states(receipt, context);
        }
        assert_eq!(told(answer), expected, "{context}");
        let mut begun = BTreeMap::new();
        for key in self.world.begun() {
            let view = self.client.view(&key).await;
            begun.insert(key, view.unwrap_or_else(|| panic!("no life after {context}")).id);
        }
        self.world.number(begun, context);
        for write in &changeset.writes {
            assert_eq!(self.client.view(&write.key).await, self.world.view(&write.key), "{context}");
            assert_eq!(self.client.entity(&write.key).await, self.world.entity(&write.key), "{context}");
        }
    }

    /// A first receipt gives the states of the entities written; the model knows them too.
    fn compare_states(&self, receipt: &Receipt, context: &str) {
        for (key, state) in &receipt.states {
            assert_eq!(Some(state), self.world.entity(key).as_ref(), "state in the receipt of {context}");
        }
        if receipt.replay == Replay::No {
            for item in &receipt.outcomes {
                let there = matches!(item.outcome, ItemOutcome::Rejected(_) | ItemOutcome::Unchanged(None));
                assert!(
                    there || receipt.states.contains_key(&item.key),
                    "no state of {:?} in the receipt of {context}",
                    item.key
                );
            }
        }
    }

    async fn compare_list(&self, question: &Question, context: &str) {
        let (query, expected) = (&question.query, self.world.list(question));
        let shown = |views: &[EntityView]| views.iter().map(|view| (view.id, view.key.clone())).collect::<Vec<_>>();
        let walked = self.client.walk(query).await;
        assert_eq!(shown(&walked), shown(&expected), "{context}, {query:?}");
        assert_eq!(walked, expected, "{context}, {query:?}");
    }

    async fn compare_all<F: Fixture>(&self, fixture: &F, context: &str) {
        for key in History::keys() {
            assert_eq!(self.client.view(&key).await, self.world.view(&key), "{context}");
            assert_eq!(self.client.entity(&key).await, self.world.entity(&key), "{context}");
            for order in [Order::Created, Order::CreatedDescending, Order::Name] {
                let query = ListQuery { order, limit: 3, ..crate::build::everything(&key) };
                self.compare_list(&Question { query, wanted: Vec::new() }, context).await;
            }
        }
        let mut feed = BTreeMap::<_, Vec<_>>::new();
        for row in fixture.feed(&self.client.tenant).await {
            feed.entry(row.key.clone()).or_default().push((row.version, row.kind, row.changes.unwrap_or_default()));
        }
        assert_eq!(feed, self.world.feed(), "the feed of {context}");
    }
}

/// What the store answered, in the model's words. Which problems a document has is the domain's own business.
fn told(answer: Result<Receipt, CommitError>) -> Answer {
    let coarse = |rejection| match rejection {
        Rejection::Invalid(_) => Rejection::Invalid(Vec::new()),
        other => other,
    };
    match answer {
        Ok(receipt) => {
            let outcome = |outcome| match outcome {
                ItemOutcome::Rejected(rejection) => ItemOutcome::Rejected(coarse(rejection)),
                other => other,
            };
            let outcomes: Vec<_> = receipt.outcomes.into_iter().map(|item| (item.key, outcome(item.outcome))).collect();
            match receipt.replay {
                Replay::Forgotten => Answer::Forgotten,
                replay => Answer::Receipt { at: receipt.at, outcomes, replay },
            }
        }
        Err(CommitError::Refused(refusal)) => Answer::Refused { index: refusal.index, rejection: coarse(refusal.rejection) },
        Err(CommitError::KeyReused) => Answer::KeyReused,
        Err(error) => panic!("no answer that a history may get: {error:?}"),
    }
}
