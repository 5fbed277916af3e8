//! The source: leaves behind what storage has, drives QEMU's migration, and reports.
//!
//! [`migrate`] reads as the data path. Until QEMU takes the `migrate` command nothing has changed for the
//! VM, and whatever fails of ours turns the migration into a stock one. From then on the switchover is
//! held while pages are outstanding; whatever fails releases it (see `controller/`).

mod cancel;
mod controller;
mod costs;
mod drive;
mod error;
mod guard;
pub mod hash;
mod link;
mod offer;
mod options;
pub mod plan;
pub mod preflight;
mod prepare;
mod progress;
mod query;
mod record;
mod recovery;
mod session;
mod settings;
pub mod zero;

use std::time::Duration;

pub use cancel::{Cancel, Canceller, cancellation};
use cancel::{END, Stop};
use controller::{Controller, SkipTask, Task};
pub use error::MigrateError;
use foreign::Text;
pub use guard::{DONE, Guard};
pub use options::{Mode, Options, Route, SILENCE};
pub use progress::{Picture, Update};
use serde_json::{Value, json};

use crate::channel::{Finish, Hello, VERSION};
use crate::qmp::Qmp;
use crate::set::SkipSet;
use crate::timeline::Watched;
use drive::{Drive, Ended};
use link::Link;
use migration_record::{Report, Status};
use preflight::Checked;
use prepare::{NotPrepared, Prepared};
use query::Stage;
use record::Record;
use session::SkipSession;
use settings::Settings;

/// What `query-status` says of a VM that has not gone back to running after a failed migration is asked
/// for as long.
const RESUME: Duration = Duration::from_secs(5);

/// How long the last question to QEMU may take once all else is over.
const MOMENT: Duration = Duration::from_millis(200);

/// Migrates a VM and tells `observer` how it goes. The report says whether it completed.
///
/// # Errors
/// [`MigrateError`] when the migration did not begin; the VM then runs on at the source, and its next
/// migration works. [`MigrateError::Lost`] when QEMU's monitor broke on the way, [`MigrateError::NotEnded`] when QEMU does
/// not end what is cancelled. After `cancel`, all is over within 3 seconds.
pub async fn migrate(
    options: &Options,
    cancel: Cancel,
    observer: &mut (dyn FnMut(&Update) + Send),
) -> Result<Report, MigrateError> {
    let mut stop = Stop::new(cancel);
    let connected = stop.within(Duration::ZERO, Qmp::connect(&options.qmp)).await;
    let qmp = connected.ok_or(MigrateError::Cancelled)??;
    let mut record = Record::new(mode(options), observer);
    let mut watched = match (options.probes, qmp.peer_pid()) {
        (true, Ok(pid)) => Watched::begin(pid),
        _ => Watched::Not,
    };
    let mut settings = Settings::default();
    let prepared = async {
        let before = before(&qmp, options, &mut settings, &mut record).await?;
        watched = std::mem::replace(&mut watched, Watched::Not).set().await;
        Ok(before)
    };
    let prepared = stop.within(Duration::ZERO, prepared).await;
    let Before { uri, task, session, listener } =
        match prepared.unwrap_or(Err(MigrateError::Cancelled)) {
            Ok(before) => before,
            Err(error) => {
                settings.put_back(&qmp, &mut stop, &mut record).await;
                return Err(error);
            }
        };
    let mut drive = Drive::new(&qmp, task, session, &mut record);
    stop.allow(options.timeout);
    let ended = drive.run(&uri, &stop).await;
    let (controller, session) = drive.into_parts();
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            settings.put_back(&qmp, &mut stop, &mut record).await;
            return Err(error);
        }
    };
    let completed = ended.stage == Stage::Completed;
    if completed {
        // In time; taking leave is no part of it.
        stop.allow(None);
    } else {
        // Before anybody else is waited for.
        settings.put_back(&qmp, &mut stop, &mut record).await;
    }
    // The kernel takes its time to give probes up, at both hosts: side by side.
    let (zero_ns, mut unprobes) = (record.zero_ns(), stop.clone());
    let (probed, ()) = tokio::join!(
        unprobes.within(END, watched.end(zero_ns)),
        after(ended, (controller, session), listener, &mut stop, &mut record)
    );
    let (side, remark) = probed.unwrap_or_default();
    record.report.probes.source = side;
    remark.into_iter().for_each(|remark| record.remark(remark));
    // One that QEMU still answers needs no more than a moment.
    let last = END + MOMENT;
    if completed {
        if stop.within(last, quit(&qmp, options, &mut record)).await.is_none() {
            record.remark("the source's QEMU was not ended: it does not answer".to_owned());
        }
    } else if stop.within(last, runs_on(&qmp, &mut record)).await.is_none() {
        record.remark("the VM at the source was not seen to run".to_owned());
    }
    Ok(record.finish())
}

const fn mode(options: &Options) -> &'static str {
    match options.mode {
        Mode::Stock { .. } => "stock",
        Mode::Poolferry(_) => "poolferry",
    }
}

/// What there is when QEMU can be told to migrate.
struct Before {
    uri: String,
    task: Task,
    session: Option<SkipSession>,
    /// A receiver that has nothing to restore, and is told how it ended.
    listener: Option<Link>,
}

/// Who goes along with QEMU's migration.
enum Company {
    /// QEMU alone.
    Nobody,
    /// The receiver, which has nothing to restore, and is told how it ended.
    Listener(Link),
    /// Pages go by storage.
    Session(Box<SkipSession>, SkipTask),
}

/// Preflight, list, offer, arming.
async fn before(
    qmp: &Qmp,
    options: &Options,
    settings: &mut Settings,
    record: &mut Record<'_>,
) -> Result<Before, MigrateError> {
    record.begin("preflight");
    let (found, left_behind) = settings::read_parameters(qmp).await?;
    let parameters = found.with(options.max_bandwidth, options.downtime_limit_ms);
    recovery::end(qmp, left_behind, record).await?;
    // Before anything is changed: it would be the settings of somebody else's migration.
    let state = preflight::ready(qmp).await?;
    if left_behind {
        record.remark("limits of a migration whose driver was killed were replaced".to_owned());
        // Also where this one does not begin.
        settings.note_parameters(found);
    }
    if let Mode::Poolferry(Route { multifd: Some(multifd), .. }) = &options.mode {
        settings.multifd(qmp, multifd).await?;
    }
    let mut checked = preflight::vm(qmp).await?;
    if matches!(options.mode, Mode::Poolferry(_)) {
        preflight::skip(qmp, &state, settings, &mut checked).await?;
    }
    let report = &mut record.report;
    report.migration = uuid(qmp).await?.into();
    report.qemu.source = qmp.version().to_string().into();
    report.machine.accelerator = checked.accelerator.into();
    report.machine.vcpus = checked.vcpus;
    record.end("preflight");
    let (uri, company) = match &options.mode {
        Mode::Stock { uri } => (uri.clone(), Company::Nobody),
        Mode::Poolferry(route) => agree(qmp, route, &mut checked, settings, record).await?,
    };
    // Events, and the way back on which the destination tells that it has the VM: without it, a destination
    // that fails at the very end is taken for one that runs the VM.
    settings.turn_on(qmp, &["events", "return-path"]).await?;
    settings.note_parameters(found);
    let (session, skip, listener) = match company {
        Company::Nobody => (None, None, None),
        Company::Listener(link) => (None, None, Some(link)),
        Company::Session(session, skip) => (Some(*session), Some(skip), None),
    };
    let task = Task { parameters, compressed: checked.compressed, skip };
    Ok(Before { uri, task, session, listener })
}

/// Where QEMU is to send to, and the session unless all is to go by network. Where the receiver cannot be agreed with and the
/// user knows where its QEMU listens, the migration is a stock one.
async fn agree(
    qmp: &Qmp,
    route: &Route,
    checked: &mut Checked,
    settings: &mut Settings,
    record: &mut Record<'_>,
) -> Result<(String, Company), MigrateError> {
    let prepared = match checked.forbids_skip() {
        Some(_) => None,
        None => match prepare::prepare(qmp, route, checked, record).await {
            Ok(prepared) => Some(prepared),
            // A monitor that is gone is no reason for a stock migration.
            Err(NotPrepared::Qmp(error)) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                stock(record, &error, error.hint().as_ref());
                None
            }
        },
    };
    for finding in &checked.findings {
        record.remark(format!("{}; {}", finding.what, finding.hint));
    }
    let nothing = SkipSet::default();
    let set = prepared.as_ref().map_or(&nothing, |prepared| &prepared.plan.set);
    let hello = Hello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        qemu: qmp.version().to_string().into(),
        migration: record.report.migration.clone(),
    };
    record.begin("offer");
    let offered = offer::offer(&route.to, &route.security, hello, checked, route.share, set).await;
    record.end("offer");
    let (link, agreed) = match (offered, &route.uri) {
        (Ok(offered), _) => offered,
        (Err(error), None) => return Err(error),
        (Err(error), Some(uri)) => {
            stock(record, &error.to_string(), error.hint().as_ref());
            // Nobody sets the destination's.
            settings.multifd_back(qmp).await?;
            return Ok((uri.clone(), Company::Nobody));
        }
    };
    record.report.qemu.destination = agreed.qemu;
    for (index, reason) in &agreed.media_left_out {
        let Some(name) = set.media().get(usize::from(*index)) else { continue };
        record.remark(format!("the destination cannot read `{}`: {reason}", foreign::shown(name)));
    }
    if let Some((reason, hint)) = &agreed.refused {
        stock(record, &format_args!("the destination refuses: {reason}"), Some(hint));
        return Ok((agreed.uri, Company::Listener(link)));
    }
    let Some(prepared) = prepared else { return Ok((agreed.uri, Company::Listener(link))) };
    record.report.pages.listed = prepared.plan.listed;
    Ok((agreed.uri, arm(prepared, link, &agreed.media_left_out, route, record)))
}

fn arm(
    prepared: Prepared,
    link: Link,
    left_out: &[(u16, Text)],
    route: &Route,
    record: &mut Record<'_>,
) -> Company {
    let left_out = offer::indices(left_out);
    match SkipSession::arm(prepared, link, &left_out, route.silence, route.share) {
        Ok((session, task)) => Company::Session(Box::new(session), task),
        Err((error, link)) => {
            stock(record, &error, error.hint().map(Text::from).as_ref());
            Company::Listener(link)
        }
    }
}

fn stock(record: &mut Record<'_>, reason: &dyn std::fmt::Display, hint: Option<&Text>) {
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    record.remark(format!("the whole memory goes by network: {reason}{hint}"));
}

/// Takes leave of the destination, and writes down the end.
async fn after(
    ended: Ended,
    (mut controller, session): (Controller, Option<SkipSession>),
    listener: Option<Link>,
    stop: &mut Stop,
    record: &mut Record<'_>,
) {
    let (status, word) = match ended.stage {
        Stage::Completed => (Status::Completed, "completed"),
        Stage::Cancelled => (Status::Cancelled, "cancelled"),
        _ => (Status::Failed, "failed"),
    };
    record.report.status = status;
    let reason = ended.reason.map(Text::from);
    record.report.reason.clone_from(&reason);
    let begun_unix_s = record.report.begun_unix_s;
    let finish = Finish { status: word.into(), reason, begun_unix_s };
    if let Some(mut session) = session {
        let last_word = stop.last_word(session.finish(&mut controller, finish)).await.flatten();
        record.skipped(&session, &controller, last_word);
    } else if let Some(mut link) = listener {
        let last_word = stop.last_word(link.finish(finish)).await.flatten();
        record.report.probes.destination =
            last_word.and_then(|word| word.into_inner().probes).map(|side| *side);
        record.report.channel_bytes = link.bytes();
    }
    record.ended(&ended.migration);
}

/// The VM is at the destination: the QEMU that has its old memory must never run it again.
async fn quit(qmp: &Qmp, options: &Options, record: &mut Record<'_>) {
    if options.leave_paused {
        return;
    }
    match qmp.execute("quit", json!({})).await {
        // It may be gone before it has answered.
        Ok(_) | Err(crate::qmp::QmpError::Closed | crate::qmp::QmpError::Io(_)) => {}
        Err(error) => record.remark(format!("the source's QEMU was not ended: {error}")),
    }
}

/// After a migration that failed, QEMU lets the VM run on by itself; this only looks.
async fn runs_on(qmp: &Qmp, record: &mut Record<'_>) {
    let asked = tokio::time::Instant::now();
    loop {
        let status = qmp.query::<Value>("query-status").await;
        match status {
            Ok(status) if status["running"] == true => return,
            Ok(_) if asked.elapsed() < RESUME => tokio::time::sleep(RESUME / 50).await,
            Ok(status) => {
                let status = status["status"].as_str().unwrap_or("unknown");
                return record.remark(format!(
                    "the VM at the source is in state `{}`",
                    foreign::shown(status)
                ));
            }
            Err(error) => {
                return record.remark(format!("the source's QEMU does not answer: {error}"));
            }
        }
    }
}

/// Names the migration: the VM's UUID and the moment.
async fn uuid(qmp: &Qmp) -> Result<String, MigrateError> {
    let uuid: Value = qmp.query("query-uuid").await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    Ok(format!("{}-{now:x}", uuid["UUID"].as_str().unwrap_or_default()))
}

#[cfg(test)]
mod hostile_sessions;
