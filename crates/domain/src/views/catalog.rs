//! Which sources and views there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{
    key::{SourceName, TenantId},
    rules::Rules,
};

use super::{Believed, Mapping, Priorities};

/// How long a view may take, unless it says otherwise.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// The views that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewName {
    /// Fields, merged by rule.
    Profile,
    /// Named sections, each of fields.
    Customer,
}

impl ViewName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Profile, Self::Customer];

    /// As it is written in configuration and paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Customer => "customer",
        }
    }

    /// The view of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.as_str() == text)
    }

    /// What it consists of.
    #[must_use]
    pub fn sections(self) -> &'static [Section] {
        match self {
            Self::Profile => &[Section::Fields],
            Self::Customer => &[Section::Customer, Section::Master, Section::Transaction],
        }
    }
}

impl fmt::Display for ViewName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A part of a view, with sources of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// All that [`ViewName::Profile`] has.
    Fields,
    /// Who the customer is.
    Customer,
    /// Products and categories.
    Master,
    /// What the customer bought.
    Transaction,
}

impl Section {
    /// As it is written in configuration and in `data_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fields => "sources",
            Self::Customer => "customer",
            Self::Master => "master",
            Self::Transaction => "transaction",
        }
    }

    /// The member of an answer that shows it.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Fields => "fields",
            Self::Customer => "customer_info",
            Self::Master => "master_data",
            Self::Transaction => "transaction_data",
        }
    }
}

/// What is to be known of a source here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSource {
    /// Which part of its answers is which field.
    pub mapping: Mapping,
    /// How much it is believed.
    pub priorities: Priorities,
    /// Whether it is what is stored here, and not called.
    pub is_store: bool,
}

/// The sources of each section; each names one at most once.
pub type Panel = BTreeMap<Section, Vec<SourceName>>;

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// How long it may take.
    pub deadline: Duration,
    /// How long a complete answer is kept, at most.
    pub ttl: Duration,
    /// For tenants that have none of their own; `None`: they don't have this view.
    pub panel: Option<Panel>,
    /// By tenant.
    pub tenants: BTreeMap<TenantId, Panel>,
}

/// All of it, consistent: every source that a view names is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By name.
    pub sources: BTreeMap<SourceName, LiveSource>,
    /// By name.
    pub views: BTreeMap<ViewName, View>,
    /// Who is believed where no priority says.
    pub rules: Rules,
}

/// The source that is always there: what is stored here.
const STORE: &str = "store";

impl Catalog {
    /// Where nothing is configured: profiles as they are stored.
    ///
    /// # Panics
    /// Never: the name is one.
    #[must_use]
    pub fn stored_only(rules: Rules) -> Self {
        let store = SourceName::parse(STORE).expect("a name");
        let panel = Panel::from([(Section::Fields, vec![store.clone()])]);
        let view = View { deadline: DEADLINE, ttl: Duration::from_hours(4), panel: Some(panel), tenants: BTreeMap::new() };
        let sources = BTreeMap::from([(store, LiveSource { is_store: true, ..LiveSource::default() })]);
        Self { sources, views: BTreeMap::from([(ViewName::Profile, view)]), rules }
    }

    /// A tenant's sources of a view.
    #[must_use]
    pub fn panel(&self, tenant: &TenantId, view: ViewName) -> Option<(&View, &Panel)> {
        let view = self.views.get(&view)?;
        Some((view, view.tenants.get(tenant).or(view.panel.as_ref())?))
    }

    /// Whether any of these sources is what is stored here.
    #[must_use]
    pub fn uses_store<'s>(&self, sources: impl IntoIterator<Item = &'s SourceName>) -> bool {
        sources.into_iter().any(|source| self.sources.get(source).is_some_and(|source| source.is_store))
    }

    /// Who is believed among these sources.
    #[must_use]
    pub fn believed<'c>(&'c self, sources: &'c [SourceName]) -> Believed<'c> {
        let priorities = sources.iter().filter_map(|name| Some((name, &self.sources.get(name)?.priorities))).collect();
        Believed { priorities, rules: &self.rules }
    }

    /// The different sources of some sections.
    #[must_use]
    pub fn asked<'p>(panel: &'p Panel, sections: &[Section]) -> BTreeSet<&'p SourceName> {
        sections.iter().filter_map(|section| panel.get(section)).flatten().collect()
    }
}
