//! Live sources, and the views that are made of them. They are too much for variables, so only a file has them:
//!
//! ```toml
//! [sources.crm]
//! url = "https://crm.example.com/people/{id}"
//! timeout = "200ms"
//! headers = { authorization = "Bearer ${CRM_TOKEN}" }
//! fields = { email = "/contact/email", name = "/full_name" }
//! reference_date = "/updated_at"
//! priority = { default = 5, email = 0 }
//!
//! [views.profile]
//! sources = ["crm", "store"]
//! ```
//!
//! `store` is what is stored here; it is there without a table.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use profile_domain::{
    FieldName, Rules, SourceName, TenantId,
    views::{Catalog, DEADLINE, LiveSource, Panel, Pointer, Section, View, ViewName},
};
use profile_upstream::{HeaderName, HeaderValue, Method, SourceSettings, TemplateError, UrlTemplate, guard::Reach};
use toml::de::DeTable;

use super::{
    ConfigError, Source, duration,
    spanned::{Node, Text},
};

const SOURCE: &[&str] = &[
    "kind",
    "url",
    "method",
    "body",
    "headers",
    "timeout",
    "retries",
    "concurrency",
    "max_bytes",
    "private_addresses",
    "fields",
    "reference_date",
    "priority",
];
const STORE_SOURCE: &[&str] = &["kind", "priority"];
const NAME: &str = "1–63 of a–z, 0–9, ., _ and -, beginning with a letter or digit";
const POINTER: &str = "a JSON pointer (RFC 6901): empty, or / before each step, such as \"/contact/email\"";
const DAY: Duration = Duration::from_hours(24);

/// All of it, valid.
pub(crate) struct Live {
    pub(crate) catalog: Catalog,
    /// Those that are called.
    pub(crate) sources: BTreeMap<SourceName, SourceSettings>,
    /// Another text wherever answers may be others.
    pub(crate) identity: String,
}

impl Live {
    pub(super) fn read(source: &Source, variable: &dyn Fn(&str) -> Option<String>, rules: &Rules) -> Result<Self, ConfigError> {
        match &source.file {
            Some((name, text)) => Self::parse(name, text, variable, rules),
            None => Ok(Self::stored_only(rules)),
        }
    }

    fn stored_only(rules: &Rules) -> Self {
        let catalog = Catalog::stored_only(rules.clone());
        let live = Self { catalog, sources: BTreeMap::new(), identity: String::new() };
        Self { identity: live.identify(), ..live }
    }

    /// With other rules of survivorship than those that stand beside it in the file.
    pub(crate) fn with_rules(mut self, rules: &Rules) -> Self {
        self.catalog.rules = rules.clone();
        self.identity = self.identify();
        self
    }

    /// The sections `[sources]` and `[views]` of a file.
    pub(crate) fn parse(
        name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        rules: &Rules,
    ) -> Result<Self, ConfigError> {
        // It was parsed before, and said to be no TOML if it wasn't.
        let table = DeTable::parse(text).map_err(|error| ConfigError::new(error.message().replace('\n', " ")))?;
        let (file, table) = (Text { name, text }, table.into_inner());
        let mut live = Self::stored_only(rules);
        for (name, node) in file.section(&table, "sources")? {
            let name = SourceName::parse(name).map_err(|_| node.says(format!("has no name that a source can have: {NAME}")))?;
            let (source, settings) = source(&node, variable)?;
            live.catalog.sources.insert(name.clone(), source);
            live.sources.extend(settings.map(|settings| (name, settings)));
        }
        for (name, node) in file.section(&table, "views")? {
            let name = ViewName::parse(name).ok_or_else(|| node.unknown(&ViewName::ALL.map(ViewName::as_str)))?;
            let view = view(name, &node, &live.catalog)?;
            live.catalog.views.insert(name, view);
        }
        live.identity = live.identify();
        Ok(live)
    }

    /// Header values are part of it: others may be others' data.
    fn identify(&self) -> String {
        let mut text = format!("{:?}", self.catalog);
        for (name, settings) in &self.sources {
            // Writing to text can't fail.
            let _ = write!(text, "{name} {settings:?}");
            settings.headers.iter().for_each(|(_, value)| {
                let _ = write!(text, "{:?}", value.as_bytes());
            });
        }
        text
    }

    /// For people; no header is shown.
    pub(super) fn in_force(&self) -> Vec<String> {
        let sources = self.sources.iter().map(|(name, settings)| {
            let timeout = duration::show(settings.timeout);
            format!("sources.{name}={:?} within {timeout}, {} headers hidden", settings.url, settings.headers.len())
        });
        let views = self.catalog.views.iter().map(|(name, view)| {
            let names = |panel: &Panel| {
                let sections = panel.iter().map(|(section, sources)| format!("{}={sources:?}", section.as_str()));
                sections.collect::<Vec<_>>().join(" ")
            };
            let tenants =
                view.tenants.iter().map(|(tenant, panel)| format!(" {tenant}: {}", names(panel))).collect::<Vec<_>>().concat();
            let (deadline, ttl) = (duration::show(view.deadline), duration::show(view.ttl));
            let panel = view.panel.as_ref().map(names).unwrap_or_default();
            format!("views.{name}={panel}{tenants} within {deadline}, kept {ttl}")
        });
        sources.chain(views).collect()
    }
}

fn source(
    node: &Node<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(LiveSource, Option<SourceSettings>), ConfigError> {
    let members: BTreeMap<&str, Node<'_>> = node.members()?.into_iter().collect();
    let kind = members.get("kind").map_or(Ok("http"), |kind| {
        kind.parse("\"http\" or \"store\"", |text| ["http", "store"].into_iter().find(|kind| *kind == text))
    })?;
    let known = if kind == "store" { STORE_SOURCE } else { SOURCE };
    if let Some((_, unknown)) = members.iter().find(|(name, _)| !known.contains(name)) {
        return Err(unknown.unknown(known));
    }
    let mut source = LiveSource { is_store: kind == "store", ..LiveSource::default() };
    if let Some(priority) = members.get("priority") {
        for (name, node) in priority.members()? {
            let number = node.number("a number from 0, which is believed most, to 1000", 0..=1_000)?;
            if name == "default" {
                source.priorities.default = Some(number);
            } else {
                source.priorities.fields.insert(field(name, &node)?, number);
            }
        }
    }
    if source.is_store {
        return Ok((source, None));
    }
    if let Some(fields) = members.get("fields") {
        for (name, node) in fields.members()? {
            source.mapping.fields.insert(field(name, &node)?, node.parse(POINTER, Pointer::parse)?);
        }
    }
    source.mapping.reference_date = members.get("reference_date").map(|node| node.parse(POINTER, Pointer::parse)).transpose()?;
    Ok((source, Some(settings(node, &members, variable)?)))
}

fn settings(
    node: &Node<'_>,
    members: &BTreeMap<&str, Node<'_>>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<SourceSettings, ConfigError> {
    let number = |name: &str, default: u32, allowed: &str, bounds| {
        members.get(name).map_or(Ok(default), |node| node.number(allowed, bounds))
    };
    let method = members.get("method").map_or(Ok(Method::Get), |node| {
        node.parse("\"GET\" or \"POST\"", |text| match text {
            "GET" => Some(Method::Get),
            "POST" => Some(Method::Post),
            _ => None,
        })
    })?;
    let body = members.get("body").map(|node| node.parse("JSON in a string", |text| Some(text.to_owned()))).transpose()?;
    if let (Method::Get, Some(body)) = (method, members.get("body")) {
        return Err(body.wrong("nothing unless method is \"POST\""));
    }
    let private = members.get("private_addresses").map_or(Ok(false), Node::truth)?;
    let reach = if private { Reach::Private } else { Reach::Public };
    let url = members.get("url").ok_or_else(|| node.missing("url", "a URL such as \"https://crm.example.com/people/{id}\""))?;
    let says_whom = body.as_ref().is_some_and(|body| body.contains("\"{id}\""));
    let template = url.parse("a string", |text| Some(UrlTemplate::parse(text, reach, !says_whom)))?;
    let mut headers = Vec::new();
    for (name, node) in members.get("headers").map_or(Ok(Vec::new()), Node::members)? {
        let named: HeaderName = name.parse().map_err(|_| node.says("is no name of a header"))?;
        headers.push((named, header(&node, variable)?));
    }
    Ok(SourceSettings {
        url: template.map_err(|error| refused(url, &error))?,
        method,
        headers,
        body,
        timeout: time(members, "timeout", Duration::from_millis(200), Duration::from_millis(1), Duration::from_mins(1))?,
        retries: number("retries", 1, "a number from 0 to 5", 0..=5)?,
        concurrency: number("concurrency", 64, "a number from 1 to 10000", 1..=10_000)? as usize,
        max_bytes: number("max_bytes", 1 << 20, "a number from 1 to 16777216", 1..=16 << 20)? as usize,
        reach,
    })
}

/// A URL may hold a password, where there is an `@`; then it isn't shown.
fn refused(url: &Node<'_>, error: &TemplateError) -> ConfigError {
    match url.parse("a string", |text| Some(text.contains('@'))) {
        Ok(false) => url.wrong(error),
        _ => url.says(format!("isn't shown, as it may hold a password; allowed is {error}")),
    }
}

/// A value in which `${NAME}` stands for a variable of the environment.
fn header(node: &Node<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Result<HeaderValue, ConfigError> {
    let text = node.parse("a string", |text| Some(text.to_owned()));
    let text = text.map_err(|_| node.says("isn't shown, as it may be a secret; allowed is a string"))?;
    let mut parts = text.split("${");
    let mut value = parts.next().unwrap_or_default().to_owned();
    let is_secret = text.contains("${");
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or_else(|| node.says("has a ${ without its }"))?;
        let set = variable(name).ok_or_else(|| {
            node.says(format!("needs {name} in the environment, which isn't set; allowed are variables that are"))
        })?;
        value.push_str(&set);
        value.push_str(rest);
    }
    let mut value = HeaderValue::from_str(&value).map_err(|_| node.says("is no value that a header can have"))?;
    value.set_sensitive(is_secret);
    Ok(value)
}

fn view(name: ViewName, node: &Node<'_>, catalog: &Catalog) -> Result<View, ConfigError> {
    let members: BTreeMap<&str, Node<'_>> = node.members()?.into_iter().collect();
    let sections: Vec<&str> = name.sections().iter().map(|section| section.as_str()).collect();
    let known: Vec<&str> = ["deadline", "cache", "tenants"].into_iter().chain(sections).collect();
    if let Some((_, unknown)) = members.iter().find(|(name, _)| !known.contains(name)) {
        return Err(unknown.unknown(&known));
    }
    let ttl = if name == ViewName::Profile { Duration::from_hours(4) } else { Duration::from_mins(1) };
    let mut tenants = BTreeMap::new();
    for (tenant, node) in members.get("tenants").map_or(Ok(Vec::new()), Node::members)? {
        let tenant = TenantId::parse(tenant).map_err(|error| node.says(error))?;
        let members: BTreeMap<&str, Node<'_>> = node.members()?.into_iter().collect();
        let panel = panel(name, &members, catalog)?.ok_or_else(|| node.missing("sources", "lists of sources"))?;
        tenants.insert(tenant, panel);
    }
    Ok(View {
        deadline: time(&members, "deadline", DEADLINE, Duration::from_millis(1), Duration::from_mins(1))?,
        ttl: time(&members, "cache", ttl, Duration::ZERO, DAY * 30)?,
        panel: panel(name, &members, catalog)?,
        tenants,
    })
}

fn panel(view: ViewName, members: &BTreeMap<&str, Node<'_>>, catalog: &Catalog) -> Result<Option<Panel>, ConfigError> {
    let mut panel = Panel::new();
    for section in view.sections() {
        if let Some(node) = members.get(section.as_str()) {
            panel.insert(*section, sources(node, *section, catalog)?);
        }
    }
    Ok((!panel.is_empty()).then_some(panel))
}

fn sources(node: &Node<'_>, section: Section, catalog: &Catalog) -> Result<Vec<SourceName>, ConfigError> {
    let mut sources: Vec<SourceName> = Vec::new();
    for item in node.items("a list of sources, such as [\"crm\", \"store\"]")? {
        let known: Vec<&str> = catalog.sources.keys().map(SourceName::as_str).collect();
        let source = item.parse(&format!("one of {}", known.join(", ")), |text| {
            catalog.sources.keys().find(|source| source.as_str() == text).cloned()
        })?;
        if sources.contains(&source) {
            return Err(item.wrong(format!("each source once in {}", section.as_str())));
        }
        sources.push(source);
    }
    if sources.is_empty() { Err(node.wrong("at least one source")) } else { Ok(sources) }
}

fn field(name: &str, node: &Node<'_>) -> Result<FieldName, ConfigError> {
    FieldName::parse(name).map_err(|error| node.says(error))
}

fn time(
    members: &BTreeMap<&str, Node<'_>>,
    name: &str,
    default: Duration,
    lowest: Duration,
    highest: Duration,
) -> Result<Duration, ConfigError> {
    let Some(node) = members.get(name) else { return Ok(default) };
    let allowed = format!(
        "a duration from {} to {}, such as \"{}\"",
        duration::show(lowest),
        duration::show(highest),
        duration::show(default)
    );
    node.parse(&allowed, |text| duration::parse(text).filter(|time| (lowest..=highest).contains(time)))
}
