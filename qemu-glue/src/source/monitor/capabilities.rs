//! Migration capabilities, and who looks for zero pages.

use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError};

/// The parameter that selects who looks for zero pages (9.0 and later), and what it is by default.
pub(in crate::source) const ZERO_PAGES: &str = "zero-page-detection";
pub(in crate::source) const BY_MULTIFD: &str = "multifd";
pub(in crate::source) const LEGACY: &str = "legacy";

/// The capabilities that are on.
///
/// # Errors
/// When the monitor fails.
pub(in crate::source) async fn enabled(qmp: &Qmp) -> Result<Vec<String>, QmpError> {
    let all: Vec<Value> = qmp.query("query-migrate-capabilities").await?;
    let on = all.iter().filter(|capability| capability["state"] == true);
    Ok(on.filter_map(|capability| capability["capability"].as_str()).map(str::to_owned).collect())
}

/// Turns them on or off.
///
/// # Errors
/// When QEMU refuses or the monitor fails.
pub(super) async fn set(qmp: &Qmp, names: &[&str], on: bool) -> Result<(), QmpError> {
    if names.is_empty() {
        return Ok(());
    }
    let set = |name: &&str| json!({ "capability": name, "state": on });
    let capabilities: Vec<Value> = names.iter().map(set).collect();
    let arguments = json!({ "capabilities": capabilities });
    qmp.execute("migrate-set-capabilities", arguments).await.map(drop)
}

/// Sets who looks for zero pages.
///
/// # Errors
/// When QEMU refuses or the monitor fails.
pub(super) async fn set_zero_pages(qmp: &Qmp, how: &str) -> Result<(), QmpError> {
    qmp.execute("migrate-set-parameters", json!({ ZERO_PAGES: how })).await.map(drop)
}
