//! What killed processes left behind while they were writing.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Nobody writes one object for so long.
const AGE: Duration = Duration::from_hours(24);

/// Removes them, as far as that works: they harm nobody.
pub(super) fn remove(folder: &Path) {
    #[expect(clippy::disallowed_methods, reason = "files are dated by the system's clock")]
    let now = SystemTime::now();
    let Some(before) = now.checked_sub(AGE) else { return };
    let _ = remove_below(folder, before);
}

fn remove_below(folder: &Path, before: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path(), before)?;
        } else if entry.file_name().as_encoded_bytes().contains(&b'#') && entry.metadata()?.modified()? < before {
            // No key has this character.
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
