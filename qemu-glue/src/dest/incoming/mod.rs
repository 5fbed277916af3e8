//! QEMU's incoming migration: how far it is, and how QEMU comes to listen for it.

pub(super) mod state;

use std::time::Duration;

use foreign::Name;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::channel::Offer;
use crate::clash::OF_BOTH;
use crate::dest::refusal::RestoreRefusal;
use crate::multifd::Multifd;
use crate::qmp::{MigrationAddress, Qmp, QmpError};

/// How often QEMU is queried for the port that it got, 20 ms apart.
const ATTEMPTS: u32 = 100;

/// Gives QEMU the source's settings and lets it listen; gives the URI for the source.
pub(in crate::dest) async fn listen(
    qmp: &Qmp,
    address: &MigrationAddress,
    offer: &Offer,
) -> Result<String, RestoreRefusal> {
    set_capabilities(qmp, &offer.capabilities).await?;
    if let Some(multifd) = &offer.multifd {
        multifd.set(qmp).await?;
    }
    let uri = format!("tcp:{address}");
    let failed = |source| RestoreRefusal::Listen { uri: uri.clone(), source };
    qmp.execute("migrate-incoming", json!({ "uri": uri })).await.map_err(failed)?;
    if address.port != 0 {
        return Ok(uri);
    }
    for _ in 0..ATTEMPTS {
        let reply: Value = qmp.query("query-migrate").await.map_err(failed)?;
        if let Some(port) = state::port(&reply) {
            return Ok(address.with(port));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let command = "query-migrate".to_owned();
    Err(failed(QmpError::Unexpected { command, what: "address of a listening socket" }))
}

/// Where a QEMU listens that got `migrate-incoming` before; its settings can no longer be changed, so they must be
/// the source's.
pub(in crate::dest) async fn old(
    qmp: &Qmp,
    address: &MigrationAddress,
    offer: &Offer,
) -> Result<String, RestoreRefusal> {
    let multifd = match &offer.multifd {
        Some(wanted) => Multifd::read(qmp).await? == *wanted,
        None => true,
    };
    let reply: Value = qmp.query("query-migrate").await?;
    let alike = multifd && to_change(qmp, &offer.capabilities).await?.is_empty();
    state::port(&reply)
        .filter(|_| alike)
        .map(|port| address.with(port))
        .ok_or(RestoreRefusal::Listens)
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
