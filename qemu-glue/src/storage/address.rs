//! Where a storage is: `file:PATH`, `nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// IANA's port of NBD.
const NBD_PORT: u16 = 10809;

/// Where a storage is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A raw file or a block device of this host.
    File(PathBuf),
    /// An export of an NBD server.
    Nbd(Export),
}

/// An export of an NBD server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Export {
    /// The server.
    pub server: NbdServer,
    /// Name of the export; empty is the server's default.
    pub name: String,
}

/// An NBD server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NbdServer {
    /// By TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// By a unix socket.
    Unix(PathBuf),
}

/// Text that is no address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{text}` is no storage address: {what}")]
pub struct AddressError {
    text: String,
    what: &'static str,
}

impl AddressError {
    /// The forms that there are.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "write file:PATH, nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH"
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |what| AddressError { text: text.to_owned(), what };
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let absolute = path.starts_with('/');
            return absolute
                .then(|| Self::File(path.into()))
                .ok_or_else(|| wrong("the path is not absolute"));
        }
        if let Some(rest) = text.strip_prefix("nbd+unix:///") {
            let (name, query) = rest.split_once('?').ok_or_else(|| wrong("no `?socket=`"))?;
            let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
            let socket = socket.ok_or_else(|| wrong("no `?socket=`"))?;
            let not_utf8 = || wrong("not UTF-8");
            let socket = decoded(socket).ok_or_else(not_utf8)?;
            let name = decoded(name).ok_or_else(not_utf8)?;
            return Ok(Self::Nbd(Export { server: NbdServer::Unix(socket.into()), name }));
        }
        let rest = text.strip_prefix("nbd://").ok_or_else(|| wrong("unknown scheme"))?;
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = host_and_port(authority).ok_or_else(|| wrong("no host or port"))?;
        let name = decoded(name).ok_or_else(|| wrong("not UTF-8"))?;
        Ok(Self::Nbd(Export { server: NbdServer::Tcp { host: host.to_owned(), port }, name }))
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`.
fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(NBD_PORT), |port| port.parse().ok())?;
    (!host.is_empty()).then_some((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.to_string_lossy()),
            Self::Nbd(Export { server: NbdServer::Unix(socket), name }) => {
                let socket = socket.to_string_lossy();
                let [name, socket] = [name.as_str(), &socket].map(encoded);
                write!(f, "nbd+unix:///{name}?socket={socket}")
            }
            Self::Nbd(Export { server, name }) => write!(f, "nbd://{server}/{}", encoded(name)),
        }
    }
}

fn encoded(text: &str) -> String {
    let parts = text.split('/').map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
    // The unreserved marks stay readable.
    parts.collect::<Vec<_>>().join("/").replace("%2E", ".").replace("%2D", "-").replace("%5F", "_")
}

impl fmt::Display for NbdServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.to_string_lossy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let tcp = |host: &str, port, name: &str| {
            let server = NbdServer::Tcp { host: host.into(), port };
            Address::Nbd(Export { server, name: name.into() })
        };
        for (text, address) in [
            ("file:/dev/vdb", Address::File("/dev/vdb".into())),
            ("nbd://10.0.0.1:10809/data", tcp("10.0.0.1", 10809, "data")),
            ("nbd://[::1]:5/a%20b", tcp("::1", 5, "a b")),
            ("nbd://host:1/", tcp("host", 1, "")),
        ] {
            assert_eq!(text.parse::<Address>().unwrap(), address);
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("nbd://store".parse::<Address>().unwrap(), tcp("store", NBD_PORT, ""));
        let unix = "nbd+unix:///disk-1?socket=/run/a%3Fb.sock".parse::<Address>().unwrap();
        let server = NbdServer::Unix("/run/a?b.sock".into());
        assert_eq!(unix, Address::Nbd(Export { server, name: "disk-1".into() }));
        assert_eq!(unix.to_string().parse::<Address>().unwrap(), unix);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "disk",
            "file:disk",
            "nbd://",
            "nbd://h:x/",
            "nbd://[::1",
            "nbd+unix:///a",
            "ftp://a/",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
