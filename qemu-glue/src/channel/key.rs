//! The key that both hosts have, and the file that it is kept in.
//!
//! A file that others could have read or written is refused before anything else happens: whoever has the key is
//! believed to be the other host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, mem};

use rustix::rand::{GetRandomFlags, getrandom};
use thiserror::Error;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Mode of a key's file.
const MODE: u32 = 0o600;
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Different bytes that a key has at least. Of random ones, one in 10^30 has fewer, and one that was written as 32 hexadecimal
/// digits one in ten million.
const LEAST_VARIETY: usize = 8;
/// Bytes that are read of a file: more than any key has.
const MOST_BYTES: u64 = 128;

/// A key that both hosts have, from a file that no one else can read.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads it from a file of 32 bytes or of 64 hexadecimal digits: a regular file, no symbolic link, of root or of this
    /// program's user, that no one else can read or write.
    ///
    /// # Errors
    /// [`KeyError`] with the remedy.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        // All that follows is asked of what was opened. A pipe must not make it wait.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(KeyError::Link(path.to_owned()));
            }
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(KeyError::NoFile(path.to_owned()));
        }
        let (owner, ours) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != 0 && owner != ours {
            return Err(KeyError::Owner { path: path.to_owned(), owner, ours });
        }
        if metadata.mode() & OTHERS != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(KeyError::Open { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let key = match <[u8; KEY_BYTES]>::try_from(bytes.as_slice()) {
            Ok(key) => Some(key),
            Err(_) => hexadecimal(bytes.trim_ascii_end()),
        };
        let key = key.ok_or_else(|| KeyError::Form(path.to_owned()))?;
        match variety(&key) {
            LEAST_VARIETY.. => Ok(Self(key)),
            different => Err(KeyError::Weak { path: path.to_owned(), different }),
        }
    }

    /// Makes a key in a new file that only this program's user can read. What lies there already is never
    /// overwritten.
    ///
    /// # Errors
    /// [`KeyError`]; no file is left behind then.
    pub fn make(path: &Path) -> Result<(), KeyError> {
        let failed = |doing: &'static str| {
            move |source| KeyError::Make { doing, path: path.to_owned(), source }
        };
        let mut bytes = [0; KEY_BYTES];
        let random = getrandom(&mut bytes, GetRandomFlags::empty()).map_err(io::Error::from);
        if random.map_err(failed("get random bytes for"))? != KEY_BYTES {
            return Err(failed("get random bytes for")(io::ErrorKind::UnexpectedEof.into()));
        }
        // Exclusive: neither what is there nor what a link there names.
        let file = match File::options().write(true).create_new(true).mode(MODE).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyError::Exists(path.to_owned()));
            }
            opened => opened.map_err(failed("make"))?,
        };
        let unfinished = Unfinished(path);
        write(file, &bytes).map_err(failed("write"))?;
        // A file system without fsync for folders (some FUSE ones) has made it all the same.
        let _ = sync_folder(path);
        mem::forget(unfinished);
        Ok(())
    }

    pub(super) const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// How many different bytes there are.
fn variety(key: &[u8; KEY_BYTES]) -> usize {
    key.iter().collect::<BTreeSet<_>>().len()
}

/// A file that is removed when it is not finished.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    // The mode of `open` is what the process's mask leaves of it.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn hexadecimal(digits: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

/// A key file that is not used, or cannot be made.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("failed to read the key `{}`", foreign::path(path))]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a symbolic link, whose owner may be another.
    #[error("the key `{}` is a symbolic link", foreign::path(.0))]
    Link(PathBuf),
    /// It is a folder, a pipe, a device.
    #[error("the key `{}` is no regular file", foreign::path(.0))]
    NoFile(PathBuf),
    /// Somebody else can change it.
    #[error(
        "the key `{}` belongs to user {owner}, neither to root nor to user {ours} who runs this",
        foreign::path(path)
    )]
    Owner {
        /// Its path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this program.
        ours: u32,
    },
    /// Others than its owner can read or write it.
    #[error("the key `{}` is open to others than its owner (mode {mode:04o})", foreign::path(path))]
    Open {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It has another form.
    #[error("the key `{}` is neither 32 bytes nor 64 hexadecimal digits", foreign::path(.0))]
    Form(PathBuf),
    /// It was not made at random, and can be guessed.
    #[error(
        "the key `{}` is no random one: it has {different} different bytes of {KEY_BYTES}",
        foreign::path(path)
    )]
    Weak {
        /// Its path.
        path: PathBuf,
        /// How many of its bytes differ.
        different: usize,
    },
    /// Something has that name.
    #[error("`{}` exists, and a key is never overwritten", foreign::path(.0))]
    Exists(PathBuf),
    /// It cannot be made.
    #[error("failed to {doing} the key `{}`", foreign::path(path))]
    Make {
        /// The step.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KeyError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as the key's owner, or as root"
            }
            Self::Read { .. } | Self::NoFile(_) | Self::Form(_) | Self::Weak { .. } => {
                "make a key with `poolferry-host keygen FILE`, and copy it to the other host"
            }
            Self::Link(_) => "name the file itself",
            Self::Owner { .. } => {
                "make the user that runs `poolferry-host` its owner (`chown`), or make another key with \
                 `poolferry-host keygen FILE`"
            }
            Self::Open { .. } => {
                "`chmod 600` it; where others use this host, make another key with `poolferry-host keygen FILE`"
            }
            Self::Exists(_) => "name another file, or copy this key to the other host",
            Self::Make { .. } => "name a file in a folder of your own, on a disk with room",
        }
    }
}

#[cfg(test)]
mod tests;
