//! One migration, phase by phase.

use std::time::Duration;

use migration_record::Report;

use super::cancel::{Cancel, END, Stop};
use super::driver::Driver;
use super::driver::event_loop::{Driven, EventLoop};
use super::driver::session::SkipSession;
use super::error::MigrateError;
use super::finish;
use super::monitor::migration_info::Stage;
use super::monitor::settings::ChangedSettings;
use super::options::{MigrationMode, Options};
use super::planning::{PreparedMigration, ready};
use super::record::ReportBuilder;
use super::record::progress::Update;
use crate::qmp::Qmp;
use crate::timeline::ProbeSession;

/// How long the last question to QEMU may take once all else is over.
const MOMENT: Duration = Duration::from_millis(200);

/// What all phases share.
pub(super) struct MigrateRun<'a> {
    options: &'a Options,
    qmp: Qmp,
    stop: Stop,
    record: ReportBuilder<'a>,
    settings: ChangedSettings,
    probe_session: ProbeSession,
    /// The VM is at the destination.
    completed: bool,
}

impl<'a> MigrateRun<'a> {
    /// Connects to QEMU.
    pub(super) async fn connect(
        options: &'a Options,
        cancel: Cancel,
        observer: &'a mut (dyn FnMut(&Update) + Send),
    ) -> Result<Self, MigrateError> {
        let mut stop = Stop::new(cancel);
        let connected = stop.within(Duration::ZERO, Qmp::connect(&options.qmp)).await;
        let qmp = connected.ok_or(MigrateError::Cancelled)??;
        let mode = match options.mode {
            MigrationMode::Stock { .. } => "stock",
            MigrationMode::Poolferry(_) => "poolferry",
        };
        let probe_session = match (options.probes, qmp.peer_pid()) {
            (true, Ok(pid)) => ProbeSession::begin(pid),
            _ => ProbeSession::Not,
        };
        let (record, settings) = (ReportBuilder::new(mode, observer), ChangedSettings::default());
        Ok(Self { options, qmp, stop, record, settings, probe_session, completed: false })
    }

    /// Preflight, list, negotiation, arming.
    pub(super) async fn prepare(&mut self) -> Result<PreparedMigration, MigrateError> {
        let Self { options, qmp, stop, record, settings, probe_session, .. } = self;
        let prepared = async {
            let ready = ready(qmp, options, settings, record).await?;
            *probe_session = take_probes(probe_session).set().await;
            Ok(ready)
        };
        let prepared = stop.within(Duration::ZERO, prepared).await;
        let prepared = prepared.unwrap_or(Err(MigrateError::Cancelled));
        if prepared.is_err() {
            self.settings.put_back(&self.qmp, &mut self.stop, &mut self.record, None).await;
        }
        prepared
    }

    /// From the `migrate` command to the end of QEMU's migration.
    pub(super) async fn drive(
        &mut self,
        ready: PreparedMigration,
        driver: &mut impl Driver,
    ) -> Result<Driven, MigrateError> {
        let PreparedMigration { uri, user, task, session, listener } = ready;
        if let Some(session) = &session {
            session.save_parameters(user, task.parameters);
        }
        let Self { options, qmp, stop, record, settings, .. } = self;
        let mut drive = EventLoop::new(qmp, driver, task, session, record);
        stop.allow(options.timeout);
        let ended = drive.run(&uri, stop).await;
        let (controller, session) = drive.into_parts();
        match ended {
            Ok(ended) => Ok(Driven { ended, controller, session, listener }),
            Err(error) => {
                settings
                    .put_back(qmp, stop, record, session.as_ref().map(SkipSession::library))
                    .await;
                Err(error)
            }
        }
    }

    /// The VM stays: QEMU's settings are as before, before anything else is waited for.
    pub(super) async fn put_back(&mut self, driven: &Driven) {
        self.completed = driven.ended.stage == Stage::Completed;
        let session = driven.session.as_ref();
        if !self.completed {
            let Self { qmp, stop, record, settings, .. } = self;
            return settings.put_back(qmp, stop, record, session.map(SkipSession::library)).await;
        }
        // In time; the end of the session is no part of it.
        self.stop.allow(None);
        // There is no migration left that could want them.
        if let Some(session) = session {
            session.forget_parameters();
        }
    }

    /// The kernel takes its time to give probes up, at both hosts: side by side.
    pub(super) async fn finish(&mut self, driven: Driven) {
        let Self { stop, record, probe_session, .. } = self;
        let (zero_ns, mut unprobes) = (record.zero_ns(), stop.clone());
        let (probed, ()) = tokio::join!(
            unprobes.within(END, take_probes(probe_session).end(zero_ns)),
            finish::notify(driven, stop, record)
        );
        let (side, warning) = probed.unwrap_or_default();
        record.report.probes.source = side;
        warning.into_iter().for_each(|warning| record.warn(warning));
    }

    /// Of two QEMUs, one runs the VM.
    pub(super) async fn settle_vm(&mut self) {
        let Self { options, qmp, stop, record, completed, .. } = self;
        // One that QEMU still answers needs no more than a moment.
        let last = END + MOMENT;
        if *completed {
            if stop.within(last, finish::quit(qmp, options, record)).await.is_none() {
                record.warn("the source's QEMU was not ended: it does not answer".to_owned());
            }
        } else if stop.within(last, finish::runs_on(qmp, record)).await.is_none() {
            record.warn("the VM at the source was not seen to run".to_owned());
        }
    }

    /// What came of it.
    pub(super) fn report(self) -> Report {
        self.record.finish()
    }
}

fn take_probes(probe_session: &mut ProbeSession) -> ProbeSession {
    std::mem::replace(probe_session, ProbeSession::Not)
}
