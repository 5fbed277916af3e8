//! From nothing to a QEMU that can migrate: preflight, list, negotiation, arming.

pub(super) mod page_list;
pub mod plan;
pub mod preflight;

use foreign::Text;
use serde_json::Value;

use crate::channel::{PeerHello, VERSION};
use crate::qmp::Qmp;
use crate::set::SkipSet;
use crate::source::controller::{MigrationParameters, SkipTask, Task};
use crate::source::driver::session::SkipSession;
use crate::source::error::MigrateError;
use crate::source::monitor::settings::{self, ChangedSettings};
use crate::source::options::{MigrationMode, Options, Route};
use crate::source::peer::channel::PeerChannel;
use crate::source::planning::page_list::{PlanError, PlannedSkip};
use crate::source::planning::preflight::Checked;
use crate::source::record::ReportBuilder;
use crate::source::{peer::negotiation, recovery};

/// What there is when QEMU can migrate.
pub(in crate::source) struct PreparedMigration {
    /// Where QEMU is to migrate to.
    pub(in crate::source) uri: String,
    /// The user's parameters.
    pub(in crate::source) user: MigrationParameters,
    pub(in crate::source) task: Task,
    pub(in crate::source) session: Option<SkipSession>,
    /// A receiver that has nothing to restore, and gets the outcome.
    pub(in crate::source) listener: Option<PeerChannel>,
}

/// Who goes along with QEMU's migration.
enum PeerRole {
    /// QEMU alone.
    Absent,
    /// The receiver, which has nothing to restore, and gets the outcome.
    Listener(PeerChannel),
    /// Pages go by storage.
    Session(Box<SkipSession>, SkipTask),
}

/// Preflight, list, negotiation, arming.
pub(in crate::source) async fn ready(
    qmp: &Qmp,
    options: &Options,
    settings: &mut ChangedSettings,
    record: &mut ReportBuilder<'_>,
) -> Result<PreparedMigration, MigrateError> {
    record.begin("preflight");
    recovery::recover(qmp, record).await?;
    let user = settings::read_parameters(qmp).await?;
    let parameters = user.with(options.max_bandwidth, options.downtime_limit_ms);
    // Before anything is changed: it would be the settings of somebody else's migration.
    let state = preflight::ready(qmp).await?;
    if let MigrationMode::Poolferry(Route { multifd: Some(multifd), .. }) = &options.mode {
        settings.multifd(qmp, multifd).await?;
    }
    let mut checked = preflight::vm(qmp).await?;
    if matches!(options.mode, MigrationMode::Poolferry(_)) {
        preflight::skip(qmp, &state, settings, &mut checked).await?;
    }
    let report = &mut record.report;
    report.migration = uuid(qmp).await?.into();
    report.qemu.source = qmp.version().to_string().into();
    report.machine.accelerator = checked.accelerator.into();
    report.machine.vcpus = checked.vcpus;
    record.end("preflight");
    let (uri, role) = match &options.mode {
        MigrationMode::Stock { uri } => (uri.clone(), PeerRole::Absent),
        MigrationMode::Poolferry(route) => {
            agree(qmp, route, &mut checked, settings, record).await?
        }
    };
    // Events, and the return path on which the destination confirms that it has the VM: without it, a destination
    // that fails at the very end is taken for one that runs the VM.
    settings.turn_on(qmp, &["events", "return-path"]).await?;
    settings.note_parameters(user);
    let (session, skip, listener) = match role {
        PeerRole::Absent => (None, None, None),
        PeerRole::Listener(peer) => (None, None, Some(peer)),
        PeerRole::Session(session, skip) => (Some(*session), Some(skip), None),
    };
    let timeout = options.timeout;
    let task = Task { parameters, compressed: checked.compressed, skip, timeout };
    Ok(PreparedMigration { uri, user, task, session, listener })
}

/// Where QEMU is to send to, and the session unless all is to go by network. Where the receiver cannot be agreed with and the
/// user knows where its QEMU listens, the migration is a stock one.
async fn agree(
    qmp: &Qmp,
    route: &Route,
    checked: &mut Checked,
    settings: &mut ChangedSettings,
    record: &mut ReportBuilder<'_>,
) -> Result<(String, PeerRole), MigrateError> {
    let prepared = match checked.forbids_skip() {
        Some(_) => None,
        None => match page_list::prepare(qmp, route, checked, record).await {
            Ok(prepared) => Some(prepared),
            // A monitor that is gone is no reason for a stock migration.
            Err(PlanError::Qmp(error)) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                stock(record, &error, error.hint().as_ref());
                None
            }
        },
    };
    for finding in &checked.findings {
        record.warn(format!("{}; {}", finding.what, finding.hint));
    }
    let nothing = SkipSet::default();
    let set = prepared.as_ref().map_or(&nothing, |prepared| &prepared.plan.set);
    let hello = PeerHello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        qemu: qmp.version().to_string().into(),
        migration: record.report.migration.clone(),
    };
    record.begin("negotiation");
    let opened =
        negotiation::open(&route.to, &route.security, hello, checked, route.share, set).await;
    record.end("negotiation");
    let (peer, negotiated) = match (opened, &route.uri) {
        (Ok(opened), _) => opened,
        (Err(error), None) => return Err(error),
        (Err(error), Some(uri)) => {
            stock(record, &error.to_string(), error.hint().as_ref());
            // The destination's is not set by anyone.
            settings.multifd_back(qmp).await?;
            return Ok((uri.clone(), PeerRole::Absent));
        }
    };
    record.report.qemu.destination = negotiated.qemu;
    for (index, reason) in &negotiated.devices_left_out {
        let Some(name) = set.devices().get(usize::from(*index)) else { continue };
        record.warn(format!("the destination cannot read `{}`: {reason}", foreign::shown(name)));
    }
    if let Some((reason, hint)) = &negotiated.refused {
        stock(record, &format_args!("the destination refuses: {reason}"), Some(hint));
        return Ok((negotiated.uri, PeerRole::Listener(peer)));
    }
    let Some(prepared) = prepared else { return Ok((negotiated.uri, PeerRole::Listener(peer))) };
    record.report.pages.listed = prepared.plan.listed;
    Ok((negotiated.uri, arm(prepared, peer, &negotiated.devices_left_out, route, record)))
}

fn arm(
    prepared: PlannedSkip,
    peer: PeerChannel,
    left_out: &[(u16, Text)],
    route: &Route,
    record: &mut ReportBuilder<'_>,
) -> PeerRole {
    let left_out = negotiation::indices(left_out);
    match SkipSession::arm(prepared, peer, &left_out, route.silence, route.share) {
        Ok((session, task)) => PeerRole::Session(Box::new(session), task),
        Err((error, peer)) => {
            stock(record, &error, error.hint().map(Text::from).as_ref());
            PeerRole::Listener(peer)
        }
    }
}

fn stock(record: &mut ReportBuilder<'_>, reason: &dyn std::fmt::Display, hint: Option<&Text>) {
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    record.warn(format!("the whole memory goes by network: {reason}{hint}"));
}

/// Names the migration: the VM's UUID and the moment.
async fn uuid(qmp: &Qmp) -> Result<String, MigrateError> {
    let uuid: Value = qmp.query("query-uuid").await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    Ok(format!("{}-{now:x}", uuid["UUID"].as_str().unwrap_or_default()))
}
