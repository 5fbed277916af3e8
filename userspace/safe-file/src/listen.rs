//! A unix socket for its owner only.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{RenameFlags, renameat_with};

/// A socket that listens at a path, mode 0600 from its first moment. It is removed when dropped, if it
/// still is the one at that path.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`. A socket that nobody serves any more is replaced.
    ///
    /// # Errors
    /// `AddrInUse`: somebody serves it, or something else than a socket is there. Else what the file
    /// system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        remove_abandoned(path)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Made where nobody else gets in, and moved when it has its mode: in between no stranger can
        // connect, nor put a link where the mode is set.
        let private = tempfile::Builder::new()
            .prefix(".poolferry-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(folder)?;
        let held = File::open(private.path())?;
        // A path by descriptor fits the 107 bytes of a socket's name however deep the folder lies.
        let short = PathBuf::from(format!("/proc/self/fd/{}/socket", held.as_raw_fd()));
        let socket = UnixListener::bind(&short)?;
        fs::set_permissions(&short, Permissions::from_mode(0o600))?;
        let found = fs::symlink_metadata(&short)?;
        let new = private.path().join("socket");
        renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, path, RenameFlags::NOREPLACE)
            .map_err(|error| match error {
                rustix::io::Errno::EXIST => io::ErrorKind::AddrInUse.into(),
                other => io::Error::from(other),
            })?;
        Ok(Self { socket, path: path.to_owned(), file: (found.dev(), found.ino()) })
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &UnixListener {
        &self.socket
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that refuses connections: the one who served it was killed.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn is_for_its_owner_only_and_goes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than the name of a socket may be.
        let deep = folder.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("agent");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_is_served_stays_and_one_that_is_not_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let first = Listener::bind(&path).unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // As after a kill: the file stays, and nobody listens.
        drop(first);
        drop(UnixListener::bind(&path).unwrap());
        let second = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        // Somebody has replaced it: theirs is not removed.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other").unwrap();
        drop(second);
        assert!(path.exists());
    }

    #[test]
    fn a_link_or_a_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        let before = fs::metadata(&file).unwrap().mode();
        for path in [&file, &link] {
            assert_eq!(Listener::bind(path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        assert_eq!(fs::metadata(&file).unwrap().mode(), before);
    }
}
