//! Locks beside folders in use: the owner holds the file `NAME.lock` as long as it lives.

use std::fs::File;
use std::path::Path;

/// Whether somebody holds the lock `path`; `None` where it is no lock, or gone.
#[must_use]
pub fn is_held(path: &Path) -> Option<bool> {
    path.extension().filter(|extension| *extension == "lock")?;
    Some(File::open(path).ok()?.try_lock().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_as_long_as_its_owner_lives() {
        let folder = tempfile::tempdir().unwrap();
        let [lock, other] = ["a.lock", "a"].map(|name| folder.path().join(name));
        assert_eq!(is_held(&lock), None);
        let owner = File::create(&lock).unwrap();
        assert_eq!(is_held(&lock), Some(false));
        owner.lock().unwrap();
        assert_eq!(is_held(&lock), Some(true));
        drop(owner);
        assert_eq!(is_held(&lock), Some(false));
        File::create(&other).unwrap();
        assert_eq!(is_held(&other), None);
    }
}
