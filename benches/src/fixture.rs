//! A store for a case, filled, and what runs on it.

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    bare,
    database::{self, Fresh},
    http,
    load::{self, Load},
    processes::{self, Program, Server, Settings, Store},
    sample,
    settings::Bench,
    statistics::Measure,
};

/// The service reads its store for each answer.
pub(crate) const UNCACHED: Settings<'_> = &[("CACHE", "off")];

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A store with the service's tables. Fields drop in this order: no program outlives its store.
pub(crate) struct Fixture {
    programs: Vec<Program>,
    kind: Kind,
    pub(crate) store: Store,
    _database: Option<Fresh>,
    folder: TempDir,
    pub(crate) profiles: u64,
}

impl Fixture {
    /// An empty store. `name` tells the stores of one case apart.
    pub(crate) fn empty(bench: &Bench, kind: Kind, name: &str) -> Result<Self> {
        let folder = bench.folder()?;
        let (store, database) = match kind {
            Kind::Sqlite => (Store::Sqlite(folder.path().to_owned()), None),
            Kind::Postgres => {
                let fresh = Fresh::create(bench, name)?;
                (Store::Postgres(fresh.database.clone()), Some(fresh))
            }
        };
        processes::migrate(&store, folder.path())?;
        Ok(Self { programs: Vec::new(), kind, store, _database: database, folder, profiles: 0 })
    }

    /// A store with so many profiles, and with the answers ready for a bare program if it needs them.
    pub(crate) fn filled(bench: &Bench, kind: Kind, name: &str, profiles: u64, ready: bool) -> Result<Self> {
        let mut fixture = Self::empty(bench, kind, name)?;
        match &fixture.store {
            Store::Sqlite(folder) => bare::fill_sqlite(&Store::sqlite_file(folder), profiles, ready)?,
            Store::Postgres(database) => {
                database::with_client(database, async |client| bare::fill_postgres(client, profiles, ready).await)?;
            }
        }
        fixture.profiles = profiles;
        Ok(fixture)
    }

    /// Starts the service on it. What isn't set is as it ships.
    pub(crate) fn service(&mut self, settings: Settings<'_>) -> Result<Server> {
        let program = self.start(settings)?;
        Ok(self.keep(program))
    }

    /// Starts the service with a file that says this, on a store of its own.
    pub(crate) fn service_with(&mut self, file: &str) -> Result<Server> {
        // An embedded store serves one process.
        let folder = self.folder.path().join(format!("with-{}", self.programs.len()));
        std::fs::create_dir(&folder)?;
        let path = folder.join("settings.toml");
        std::fs::write(&path, file)?;
        let program = processes::service_with(&Store::Sqlite(folder.clone()), &folder, &path)?;
        Ok(self.keep(program))
    }

    /// The same, for as long as the caller keeps it.
    pub(crate) fn start(&self, settings: Settings<'_>) -> Result<Program> {
        processes::service(&self.store, self.folder.path(), settings)
    }

    /// Starts the bare program on it.
    pub(crate) fn bare(&mut self) -> Result<Server> {
        self.bare_on(self.kind.argument(), &self.store.argument())
    }

    /// Starts a bare program on something else, beside it.
    pub(crate) fn bare_on(&mut self, kind: &str, argument: &str) -> Result<Server> {
        let program = processes::bare(kind, argument, self.folder.path())?;
        Ok(self.keep(program))
    }

    fn keep(&mut self, program: Program) -> Server {
        let server = program.server();
        self.programs.push(program);
        server
    }

    /// What was started last.
    pub(crate) fn program(&self) -> Option<&Program> {
        self.programs.last()
    }

    /// GETs of single profiles, scattered over all of them.
    pub(crate) fn gets(&self) -> Vec<Vec<u8>> {
        // So many touch every page of a large store; more would only take memory.
        const MOST: u64 = 200_000;
        let count = self.profiles.min(MOST);
        let number = |index: u64| if self.profiles <= MOST { index } else { sample::mix(index) % self.profiles };
        (0..count).map(|index| http::get(&path(number(index)))).collect()
    }
}

/// The path of a profile in a filled store.
pub(crate) fn path(number: u64) -> String {
    format!("/api/v1/profiles/{}", sample::reference(number))
}

/// Answers per second of a closed loop, as one side of a comparison.
pub(crate) fn closed<'a>(bench: &'a Bench, load: Load<'a>) -> Measure<'a> {
    Box::new(move || load::closed(&load, bench.span()))
}
