//! Where a QEMU listens for a migration: the part of its URIs that we give or take.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Where QEMU listens for the migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationAddress {
    /// Name or address of this host as the source reaches it.
    pub host: String,
    /// Port; 0 takes any that is free.
    pub port: u16,
}

/// Text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address: write HOST, HOST:PORT or [IPV6]:PORT")]
pub struct MigrationAddressError(String);

impl FromStr for MigrationAddress {
    type Err = MigrationAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MigrationAddressError(text.to_owned());
        let bare = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) if bare(host) => (host, "0"),
            Some((host, port)) if bare(host) => (host, port.strip_prefix(':').ok_or_else(wrong)?),
            Some(_) => return Err(wrong()),
            None if bare(text) => (text, "0"),
            None => text.split_once(':').unwrap_or((text, "0")),
        };
        // A comma would begin an option of QEMU's.
        let sound = !host.is_empty() && !host.contains([',', ' ', '[', ']']);
        let port = port.parse().map_err(|_| wrong())?;
        sound.then(|| Self { host: host.to_owned(), port }).ok_or_else(wrong)
    }
}

impl fmt::Display for MigrationAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Scheme of QEMU's URI of an address.
const TCP: &str = "tcp:";

impl MigrationAddress {
    /// QEMU's URI of a port at this host.
    pub(crate) fn with(&self, port: u16) -> String {
        Self { host: self.host.clone(), port }.uri()
    }

    /// QEMU's URI of it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{TCP}{self}")
    }

    /// The address that a URI is of; `None` where it is of anything else.
    #[must_use]
    pub fn of_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(TCP)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("10.0.0.2", "10.0.0.2:0"),
            ("10.0.0.2:4444", "10.0.0.2:4444"),
            ("host.example:1", "host.example:1"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("[fe80::2]:5", "[fe80::2]:5"),
        ] {
            assert_eq!(text.parse::<MigrationAddress>().unwrap().to_string(), written);
        }
        for text in ["", ":1", "a:b", "a:70000", "[a]:1", "[::1", "a,to=9:1", "[::1]x"] {
            assert!(text.parse::<MigrationAddress>().is_err(), "{text}");
        }
    }
}
