//! What source and destination agree on before the migration.

use std::collections::HashSet;
use std::time::Duration;

use foreign::{Name, Text};
use tokio::time::timeout;

use crate::channel::{Message, Offer, PeerHello, Refused, Security, VERSION};
use crate::qmp::MigrationAddress;
use crate::set::SkipSet;
use crate::source::error::MigrateError;
use crate::source::peer::channel::PeerChannel;
use crate::source::planning::preflight::Checked;

/// How long the destination may take to answer the greeting.
const HELLO: Duration = Duration::from_secs(10);
/// How long it may take to take the offer.
const OFFER: Duration = Duration::from_secs(60);
/// How long it may take to check itself and to punch holes.
const READY: Duration = Duration::from_secs(120);
/// Runs of one message: 384 KiB.
const RUNS: usize = 1 << 14;

/// What the destination has agreed to.
#[derive(Debug)]
pub(in crate::source) struct Negotiated {
    /// Where its QEMU listens.
    pub(in crate::source) uri: String,
    /// Version of its QEMU.
    pub(in crate::source) qemu: Text,
    /// Devices that it cannot read, by index, with the reason.
    pub(in crate::source) devices_left_out: Vec<(u16, Text)>,
    /// Why it restores nothing, and its advice.
    pub(in crate::source) refused: Option<(Text, Text)>,
}

/// Greets, offers the set (which may be empty) and waits until the destination's QEMU listens.
pub(in crate::source) async fn open(
    to: &str,
    security: &Security,
    hello: PeerHello,
    checked: &Checked,
    shares: bool,
    set: &SkipSet,
) -> Result<(PeerChannel, Negotiated), MigrateError> {
    let peer = PeerChannel::connect(to, security).await?;
    negotiate(peer, to, hello, checked, shares, set).await
}

/// The same on a channel that is open.
pub(in crate::source) async fn negotiate(
    mut peer: PeerChannel,
    to: &str,
    hello: PeerHello,
    checked: &Checked,
    shares: bool,
    set: &SkipSet,
) -> Result<(PeerChannel, Negotiated), MigrateError> {
    send(&peer, Message::Hello(hello)).await;
    let theirs = match receive(&mut peer, to, HELLO).await? {
        Message::Hello(hello) => hello,
        Message::Refused(refused) => return Err(refuses(refused)),
        other => return Err(unexpected(to, &other)),
    };
    if theirs.version != VERSION {
        let what = format!("version {} of the channel; ours is {VERSION}", theirs.version);
        return Err(MigrateError::Unexpected { to: to.to_owned(), what: what.into() });
    }
    let offer = Offer {
        blocks: set.blocks().to_vec(),
        devices: set.devices().iter().filter_map(|name| Name::try_from(&**name).ok()).collect(),
        runs: set.runs().len() as u64,
        capabilities: checked.of_both.clone(),
        multifd: checked.multifd.clone(),
        shares,
    };
    let sending = async {
        send(&peer, Message::Offer(offer)).await;
        for runs in set.runs().chunks(RUNS) {
            send(&peer, Message::Runs(runs.to_vec())).await;
        }
        send(&peer, Message::OfferEnd).await;
    };
    let late = |_| unexpected_text(to, format!("no sign of reading within {} s", OFFER.as_secs()));
    timeout(OFFER, sending).await.map_err(late)?;
    let agreed = match receive(&mut peer, to, READY).await? {
        Message::Ready(ready) => Negotiated {
            uri: listens(to, ready.uri.raw())?,
            qemu: theirs.qemu,
            devices_left_out: ready.devices_left_out,
            refused: None,
        },
        Message::Refused(refused) => match refused.uri {
            Some(uri) => Negotiated {
                uri: listens(to, uri.raw())?,
                qemu: theirs.qemu,
                devices_left_out: Vec::new(),
                refused: Some((refused.reason, there(&refused.hint))),
            },
            None => return Err(refuses(refused)),
        },
        other => return Err(unexpected(to, &other)),
    };
    Ok((peer, agreed))
}

fn refuses(refused: Refused) -> MigrateError {
    MigrateError::Refused { hint: there(&refused.hint), reason: refused.reason }
}

/// The destination's advice, which is about its own QEMU and files, as it is shown here.
fn there(hint: &Text) -> Text {
    if hint.is_empty() { Text::default() } else { format!("at the destination: {hint}").into() }
}

/// The URI by which QEMU reaches the destination's. Nothing but an address is taken from another host: of an `exec:`
/// URI, QEMU would run the program.
fn listens(to: &str, uri: &str) -> Result<String, MigrateError> {
    match MigrationAddress::of_uri(uri) {
        Some(address) if address.port != 0 => Ok(address.uri()),
        _ => {
            let uri = foreign::shown(uri);
            let what =
                format!("`{uri:.80}` as the address of its QEMU, which has to be `tcp:HOST:PORT`");
            Err(unexpected_text(to, what))
        }
    }
}

/// Indices of devices as a set.
pub(in crate::source) fn indices(devices: &[(u16, Text)]) -> HashSet<u16> {
    devices.iter().map(|(index, _)| *index).collect()
}

async fn send(peer: &PeerChannel, message: Message) {
    // Where its answer is waited for, a channel that is gone gives the reason.
    let _ = peer.out.send(message).await;
}

async fn receive(
    peer: &mut PeerChannel,
    to: &str,
    limit: Duration,
) -> Result<Message, MigrateError> {
    match timeout(limit, peer.incoming.recv()).await {
        Ok(Some(Ok(message))) => Ok(message),
        Ok(Some(Err(error))) => Err(MigrateError::Channel { to: to.to_owned(), error }),
        Ok(None) => Err(unexpected_text(to, "the end of the channel".to_owned())),
        Err(_) => Err(unexpected_text(to, format!("nothing within {} s", limit.as_secs()))),
    }
}

fn unexpected(to: &str, message: &Message) -> MigrateError {
    let text = format!("{message:?}");
    unexpected_text(to, text.chars().take(80).collect())
}

fn unexpected_text(to: &str, what: String) -> MigrateError {
    MigrateError::Unexpected { to: to.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_sent_to_an_address_and_to_nothing_else() {
        for uri in ["tcp:10.0.0.2:4444", "tcp:[::1]:4444", "tcp:host.example:1"] {
            assert_eq!(listens("there", uri).unwrap(), uri);
        }
        for uri in [
            "",
            "exec:touch /srv/there",
            "fd:7",
            "file:/etc/passwd",
            "unix:/run/qemu",
            "rdma:10.0.0.2:4444",
            "10.0.0.2:4444",
            "tcp:",
            "tcp:10.0.0.2",
            "tcp:10.0.0.2:0",
            "tcp:10.0.0.2:70000",
            "tcp::4444",
            "tcp:10.0.0.2:4444,ipv6=on",
            "tcp:10.0.0.2,to=9:4444",
            "TCP:10.0.0.2:4444",
            " tcp:10.0.0.2:4444",
            "tcp:[exec]:4444",
            "exec:\nx",
        ] {
            let error = listens("there", uri).unwrap_err().to_string();
            assert!(error.starts_with("there answered with something unexpected"), "{error}");
            assert!(error.contains("tcp:HOST:PORT") && !error.contains('\n'), "{error}");
        }
    }
}
