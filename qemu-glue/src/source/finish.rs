//! The end: the destination gets the outcome, and of two QEMUs one runs the VM.

use std::time::Duration;

use foreign::Text;
use migration_record::MigrationStatus;
use serde_json::Value;

use super::cancel::Stop;
use super::driver::event_loop::Driven;
use super::monitor::migration_info::Stage;
use super::options::Options;
use super::record::ReportBuilder;
use crate::channel::Finish;
use crate::qmp::Qmp;

/// How long `query-status` is repeated for a VM that has not gone back to running after a failed migration.
const RESUME: Duration = Duration::from_secs(5);

/// Sends the destination how it ended, and records the end.
pub(super) async fn notify(
    Driven { ended, mut controller, session, listener }: Driven,
    stop: &mut Stop,
    record: &mut ReportBuilder<'_>,
) {
    let (status, word) = match ended.stage {
        Stage::Completed => (MigrationStatus::Completed, "completed"),
        Stage::Cancelled => (MigrationStatus::Cancelled, "cancelled"),
        _ => (MigrationStatus::Failed, "failed"),
    };
    record.report.status = status;
    let reason = ended.reason.map(Text::from);
    record.report.reason.clone_from(&reason);
    let begun_unix_s = record.report.begun_unix_s;
    let finish = Finish { status: word.into(), reason, begun_unix_s };
    if let Some(mut session) = session {
        let last_word = stop.last_word(session.finish(&mut controller, finish)).await.flatten();
        record.skipped(&session.figures(), &controller, last_word);
    } else if let Some(mut peer) = listener {
        let last_word = stop.last_word(peer.finish(finish)).await.flatten();
        record.report.probes.destination =
            last_word.and_then(|word| word.into_inner().probes).map(|side| *side);
        record.report.channel_bytes = peer.bytes();
    }
    record.ended(&ended.migration);
}

/// The VM is at the destination: the QEMU that has its old memory must never run it again.
pub(super) async fn quit(qmp: &Qmp, options: &Options, record: &mut ReportBuilder<'_>) {
    if options.leave_paused {
        return;
    }
    if let Err(error) = qmp.quit().await {
        record.warn(format!("the source's QEMU was not ended: {error}"));
    }
}

/// After a migration that failed, QEMU lets the VM run on by itself; this only looks.
pub(super) async fn runs_on(qmp: &Qmp, record: &mut ReportBuilder<'_>) {
    let requested = tokio::time::Instant::now();
    loop {
        let status = qmp.query::<Value>("query-status").await;
        match status {
            Ok(status) if status["running"] == true => return,
            Ok(_) if requested.elapsed() < RESUME => tokio::time::sleep(RESUME / 50).await,
            Ok(status) => {
                let status = status["status"].as_str().unwrap_or("unknown");
                return record.warn(format!(
                    "the VM at the source is in state `{}`",
                    foreign::shown(status)
                ));
            }
            Err(error) => {
                return record.warn(format!("the source's QEMU does not answer: {error}"));
            }
        }
    }
}
