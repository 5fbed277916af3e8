//! Room on a file system, asked for before much is written: a disk that fills in the middle takes others with it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::statvfs;

/// Fails unless the file system of `folder`, which need not be there yet, has `bytes` left for `what`.
///
/// # Errors
/// There is no such room, with what can be done; or the file system cannot be asked.
pub fn ensure(folder: &Path, bytes: u64, what: &str) -> Result<()> {
    let left = left(folder)?;
    ensure!(
        left >= bytes,
        "no room for {what}: that takes {}, and the file system of `{}` has {} left; `cargo xtask cache` shows what is \
         kept and removes what can be made again, and POOLFERRY_CACHE names another folder for it",
        gib(bytes),
        folder.display(),
        gib(left)
    );
    Ok(())
}

/// Bytes that the file system of `folder` has left for us.
fn left(folder: &Path) -> Result<u64> {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    let stat = statvfs(there)
        .with_context(|| format!("failed to ask the file system of `{}`", there.display()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Bytes, for people.
#[must_use]
pub fn gib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let gib = bytes as f64 / f64::from(1 << 30);
    format!("{gib:.2} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        ensure(folder.path(), 1, "a byte").unwrap();
        let missing = folder.path().join("not/there/yet");
        let error = ensure(&missing, u64::MAX, "everything").unwrap_err().to_string();
        for word in ["no room for everything", "not/there/yet", "cargo xtask cache"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn bytes_are_told_in_gib() {
        assert_eq!(gib(3 << 29), "1.50 GiB");
    }
}
