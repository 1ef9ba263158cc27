//! The whole contract of objects, in a folder; and what is left in one.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use profile_objects::ObjectFolder;
use profile_port_contracts::ObjectsFixture;
use profile_ports::Objects;
use tempfile::TempDir;

struct FolderFixture {
    folder: TempDir,
    limit: u64,
    objects: Arc<ObjectFolder>,
}

fn open(folder: &TempDir, limit: u64) -> Arc<ObjectFolder> {
    // It makes its folder.
    Arc::new(ObjectFolder::open(&folder.path().join("objects"), limit).expect("it opens"))
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[async_trait]
impl ObjectsFixture for FolderFixture {
    async fn fresh(limit: u64) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self { objects: open(&folder, limit), limit, folder }
    }

    fn objects(&self) -> Arc<dyn Objects> {
        Arc::clone(&self.objects) as Arc<dyn Objects>
    }

    async fn reopen(&mut self) {
        self.objects = open(&self.folder, self.limit);
    }

    async fn kept(&self) -> usize {
        files(self.folder.path())
    }
}

profile_port_contracts::objects_contract!(FolderFixture);

#[test]
#[expect(clippy::disallowed_methods, reason = "files are dated by the system's clock")]
fn what_a_killed_process_left_goes_after_a_day() {
    let folder = TempDir::new().expect("a folder");
    let tenant = folder.path().join("exports/default");
    fs::create_dir_all(&tenant).expect("a folder");
    for (name, hours) in [("a", 48), ("a#1", 48), ("b#1", 23)] {
        let file = fs::File::create(tenant.join(name)).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_hours(hours)).expect("its time is set");
    }
    ObjectFolder::open(folder.path(), 1).expect("it opens");
    let left = |name| tenant.join(name).exists();
    assert_eq!((left("a"), left("a#1"), left("b#1")), (true, false, true));
}
