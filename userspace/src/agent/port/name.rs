//! Which port, and where its device is.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where udev puts ports by name.
const BY_NAME: &str = "/dev/virtio-ports";
/// Where the kernel has the names (Documentation/ABI: `/sys/class/virtio-ports/vportNpM/name`).
const CLASS: &str = "/sys/class/virtio-ports";

/// The port that the host is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// A virtio-serial port, mostly `/dev/virtio-ports/NAME`.
    Device(PathBuf),
    /// A unix socket that the agent listens on: `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for PortName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Device(text.into()),
        })
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", foreign::path(path)),
            Self::Unix(path) => write!(f, "unix:{}", foreign::path(path)),
        }
    }
}

/// The device of a port. In a guest without udev there are no names in /dev, so sysfs is read.
pub(super) fn find(path: &Path) -> io::Result<PathBuf> {
    if path.exists() || path.parent() != Some(Path::new(BY_NAME)) {
        return Ok(path.to_owned());
    }
    find_in(Path::new(CLASS), path.file_name().unwrap_or_default())
}

fn find_in(class: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no port of this name");
    for port in fs::read_dir(class).map_err(|_| missing())?.flatten() {
        let found = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if OsStr::new(found.trim_end_matches('\n')) == name {
            return Ok(Path::new("/dev").join(port.file_name()));
        }
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_without_udev() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [("vport0p1", "org.other"), ("vport0p2", "org.poolferry.0")] {
            fs::create_dir(class.path().join(port)).unwrap();
            fs::write(class.path().join(port).join("name"), format!("{name}\n")).unwrap();
        }
        let found = find_in(class.path(), OsStr::new("org.poolferry.0")).unwrap();
        assert_eq!(found, Path::new("/dev/vport0p2"));
        assert!(find_in(class.path(), OsStr::new("org.poolferry")).is_err());
        assert!(find_in(&class.path().join("none"), OsStr::new("a")).is_err());
        let other = Path::new("/dev/no-such-device");
        assert_eq!(find(other).unwrap(), other);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["/dev/virtio-ports/org.poolferry.0", "unix:/run/poolferry.sock"] {
            assert_eq!(text.parse::<PortName>().unwrap().to_string(), text);
        }
    }
}
