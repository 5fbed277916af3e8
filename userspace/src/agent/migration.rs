//! The host's telemetry of a migration, for `poolferry trace` in the same guest.
//!
//! A small file in /run, written by the agent, read by the viewer. The host does not send a goodbye
//! when the VM has moved, so telemetry that is not fresh is ignored.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use page_wire::protocol::{Migration, Phase};
use safe_file::Mode;

/// Where it stands.
const FOLDER: &str = "/run/poolferry";
const FILE: &str = "migration.json";
/// A host that migrates sends it more often than that.
const FRESH: Duration = Duration::from_secs(15);
/// More than such a file has.
const MOST_BYTES: u64 = 4096;

/// Stores telemetry.
pub(super) fn note(migration: &Migration) -> io::Result<()> {
    note_in(Path::new(FOLDER), migration)
}

fn note_in(folder: &Path, migration: &Migration) -> io::Result<()> {
    safe_file::make_folder(folder)?;
    let text = serde_json::to_vec(migration)?;
    safe_file::replace(&folder.join(FILE), Mode::Readable, |file| file.write_all(&text))
}

/// A line for people, while this VM migrates.
#[must_use]
pub fn notice() -> Option<String> {
    noted_in(Path::new(FOLDER), FRESH).map(|migration| line(&migration))
}

fn noted_in(folder: &Path, fresh: Duration) -> Option<Migration> {
    let file = File::open(folder.join(FILE)).ok()?;
    // A clock that went back makes it fresh; the next one will be.
    let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok().filter(|_| age < fresh)
}

fn line(migration: &Migration) -> String {
    let Migration { phase, skipped, installed, redirtied, remaining_bytes } = migration;
    let what = match phase {
        Phase::Preparing => return "this VM is about to migrate".to_owned(),
        Phase::GivenUp => return "the migration of this VM was given up; it stays".to_owned(),
        Phase::Migrating => "migrates",
        Phase::Throttled => "waits for the last pages to migrate",
        Phase::SwitchingOver => "switches to its other host",
    };
    let mib = remaining_bytes >> 20;
    format!(
        "this VM {what}: {installed} of {skipped} skipped pages are restored, {redirtied} were \
         re-dirtied, {mib} MiB to send"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_shown_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        assert_eq!(noted_in(&folder, FRESH), None);
        let mut migration = Migration {
            phase: Phase::Throttled,
            skipped: 40,
            installed: 30,
            redirtied: 2,
            remaining_bytes: 5 << 20,
        };
        note_in(&folder, &migration).unwrap();
        assert_eq!(noted_in(&folder, FRESH), Some(migration));
        assert_eq!(noted_in(&folder, Duration::ZERO), None);
        let shown = line(&migration);
        assert!(shown.contains("30 of 40") && shown.contains("5 MiB"), "{shown}");
        migration.phase = Phase::GivenUp;
        note_in(&folder, &migration).unwrap();
        assert!(line(&noted_in(&folder, FRESH).unwrap()).contains("given up"));
        std::fs::write(folder.join(FILE), "{").unwrap();
        assert_eq!(noted_in(&folder, FRESH), None);
    }

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_left() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        for name in [FILE, "migration.json.new"] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        let migration = Migration {
            phase: Phase::Throttled,
            skipped: 1,
            installed: 0,
            redirtied: 0,
            remaining_bytes: 0,
        };
        note_in(folder.path(), &migration).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
