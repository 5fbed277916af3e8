//! What a receiver can check before any source comes. QEMU may still be started, so nothing of it is an error.

use std::time::Duration;

use foreign::Text;
use tokio::time::timeout;

use crate::dest::devices::unknown;
use crate::dest::options::Options;
use crate::dest::preflight;
use crate::dest::refusal::RestoreRefusal;
use crate::error_chain;
use crate::guest::disks;
use crate::qmp::Qmp;

/// How long all of it may take: a source may come.
const LIMIT: Duration = Duration::from_secs(2);

/// Looks at QEMU behind its monitor, and gives up the monitor: what would keep a migration from being restored, a line each.
pub async fn look_ahead(options: &Options) -> Vec<Text> {
    let qmp = foreign::path(&options.qmp);
    match timeout(LIMIT, look(options)).await {
        Ok(Ok(warnings)) => warnings,
        Ok(Err(refusal)) => {
            let why = error_chain(&refusal);
            vec![format!("no migration can be restored yet (monitor `{qmp}`): {why}").into()]
        }
        Err(_) => vec![format!("QEMU's monitor `{qmp}` does not answer yet").into()],
    }
}

async fn look(options: &Options) -> Result<Vec<Text>, RestoreRefusal> {
    let qmp = Qmp::connect(&options.qmp).await?;
    preflight::waits(&qmp).await?;
    if options.disks.is_empty() {
        return Ok(Vec::new());
    }
    let disks = disks::of(&qmp).await?;
    let names = options.disks.iter().map(|(name, _)| name.as_str());
    Ok(names.filter_map(|name| unknown(name, &disks)).collect())
}
