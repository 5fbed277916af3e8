//! Lets the destination's QEMU listen.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use foreign::Name;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::begun;
use super::refusal::Refusal;
use crate::channel::Offer;
use crate::multifd::Multifd;
use crate::qmp::{Qmp, QmpError};

/// Capabilities that both sides must have, or both not: they change the stream.
const OF_BOTH: [&str; 2] = ["multifd", "compress"];
/// How often QEMU is asked for the port that it got, 20 ms apart.
const ASKED: u32 = 100;

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
    fn with(&self, port: u16) -> String {
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

/// Gives QEMU the source's settings and lets it listen; gives the URI for the source.
pub(super) async fn listen(
    qmp: &Qmp,
    address: &MigrationAddress,
    offer: &Offer,
) -> Result<String, Refusal> {
    set_capabilities(qmp, &offer.capabilities).await?;
    if let Some(multifd) = &offer.multifd {
        multifd.set(qmp).await?;
    }
    let uri = format!("tcp:{address}");
    let failed = |source| Refusal::Listen { uri: uri.clone(), source };
    qmp.execute("migrate-incoming", json!({ "uri": uri })).await.map_err(failed)?;
    if address.port != 0 {
        return Ok(uri);
    }
    for _ in 0..ASKED {
        let told: Value = qmp.query("query-migrate").await.map_err(failed)?;
        if let Some(port) = begun::port(&told) {
            return Ok(address.with(port));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let command = "query-migrate".to_owned();
    Err(failed(QmpError::Unexpected { command, what: "address of a listening socket" }))
}

/// Where a QEMU listens that was told to before; its settings can no longer be changed, so they must be
/// the source's.
pub(super) async fn old(
    qmp: &Qmp,
    address: &MigrationAddress,
    offer: &Offer,
) -> Result<String, Refusal> {
    let multifd = match &offer.multifd {
        Some(wanted) => Multifd::read(qmp).await? == *wanted,
        None => true,
    };
    let told: Value = qmp.query("query-migrate").await?;
    let alike = multifd && to_change(qmp, &offer.capabilities).await?.is_empty();
    begun::port(&told).filter(|_| alike).map(|port| address.with(port)).ok_or(Refusal::Listens)
}

/// Sets those of [`OF_BOTH`] as the source has them.
async fn set_capabilities(qmp: &Qmp, wanted: &[Name]) -> Result<(), QmpError> {
    let changes = to_change(qmp, wanted).await?;
    if !changes.is_empty() {
        qmp.execute("migrate-set-capabilities", json!({ "capabilities": changes })).await?;
    }
    Ok(())
}

/// What has to change for [`OF_BOTH`] to be as the source has them.
async fn to_change(qmp: &Qmp, wanted: &[Name]) -> Result<Vec<Value>, QmpError> {
    let all: Vec<Value> = qmp.query("query-migrate-capabilities").await?;
    let changes = OF_BOTH
        .into_iter()
        .filter_map(|name| {
            let own = all.iter().find(|own| own["capability"] == name)?;
            let state = wanted.iter().any(|wanted| *wanted == name);
            (own["state"] != state).then(|| json!({ "capability": name, "state": state }))
        })
        .collect();
    Ok(changes)
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
