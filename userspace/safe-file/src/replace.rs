//! A file that takes the place of another.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Who may read a new file, before the umask takes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its owner (0600).
    Private,
    /// Everybody; its owner writes (0644).
    Readable,
}

impl Mode {
    const fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Readable => 0o644,
        }
    }
}

/// Writes a file by `write` and puts it in the place of `path`, which may be there or not. A link at
/// `path` is replaced, not followed.
///
/// # Errors
/// The file system's error; what was at `path` then is as it was, and nothing is left beside it.
pub fn replace(
    path: &Path,
    mode: Mode,
    write: impl FnOnce(&mut io::BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = begin(path, mode)?;
    let mut buffer = io::BufWriter::new(file.as_file_mut());
    write(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    finish(file, path)
}

/// A new file of a random name in the folder of `path`.
pub(crate) fn begin(path: &Path, mode: Mode) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".poolferry-")
        .permissions(Permissions::from_mode(mode.bits()))
        .tempfile_in(folder(path))
}

/// Puts it in the place of `path`, once its bytes and then its name are on disk.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // A file system without fsync for folders (some FUSE ones) has renamed it all the same.
    let _ = File::open(folder(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a folder of our own (mode 0755) with those above it, or takes the one that is there.
///
/// # Errors
/// It cannot be made, is no folder, belongs to somebody else than root and this user, or others may
/// write to it.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    let found = fs::symlink_metadata(path)?;
    let ours = found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw();
    let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !found.is_dir() {
        refused("it is a link or no folder")
    } else if !ours {
        refused("it belongs to another user")
    } else if found.mode() & 0o022 != 0 {
        refused("other users may write to it")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("out.json"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        // Names that an earlier version wrote through.
        symlink(&victim, folder.path().join("out.new")).unwrap();
        symlink(&victim, folder.path().join("out.json.new")).unwrap();
        replace(&path, Mode::Readable, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(!path.is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o133, 0);
    }

    #[test]
    fn what_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        let full = |_: &mut io::BufWriter<&mut File>| Err(io::ErrorKind::StorageFull.into());
        let error = replace(&path, Mode::Private, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_others_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        assert!(make_folder(&path).unwrap_err().to_string().contains("may write"));
        let link = folder.path().join("link");
        symlink("/", &link).unwrap();
        assert!(make_folder(&link).unwrap_err().to_string().contains("link"));
    }
}
