//! Drives QEMU's migration from the `migrate` command to its end: hands the [`Controller`] what happens, and does what
//! it says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::qmp::{Event, Qmp, QmpError};
use crate::source::cancel::{CANCELLING, Stop};
use crate::source::controller::{Command, Controller, Input, Task};
use crate::source::driver::Driver;
use crate::source::driver::session::SkipSession;
use crate::source::error::MigrateError;
use crate::source::hash::HashLimit;
use crate::source::monitor::migration_info::{MigrationInfo, Stage, stage};
use crate::source::monitor::settings;
use crate::source::peer::channel::PeerChannel;
use crate::source::record::ReportBuilder;

/// How often the library's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How it ended.
#[derive(Debug)]
pub(in crate::source) struct MigrationEnd {
    pub(in crate::source) stage: Stage,
    pub(in crate::source) migration: MigrationInfo,
    /// Why, when it did not complete.
    pub(in crate::source) reason: Option<String>,
}

/// A migration of QEMU that has ended, and who has to know it.
pub(in crate::source) struct Driven {
    pub(in crate::source) ended: MigrationEnd,
    pub(in crate::source) controller: Controller,
    pub(in crate::source) session: Option<SkipSession>,
    pub(in crate::source) listener: Option<PeerChannel>,
}

pub(in crate::source) struct EventLoop<'a, 'o, D> {
    qmp: &'a Qmp,
    driver: &'a mut D,
    controller: Controller,
    session: Option<SkipSession>,
    record: &'a mut ReportBuilder<'o>,
}

impl<'a, 'o, D: Driver> EventLoop<'a, 'o, D> {
    pub(in crate::source) fn new(
        qmp: &'a Qmp,
        driver: &'a mut D,
        task: Task,
        session: Option<SkipSession>,
        record: &'a mut ReportBuilder<'o>,
    ) -> Self {
        Self { qmp, driver, controller: Controller::new(task, Instant::now()), session, record }
    }

    /// What is left of it after the end.
    pub(in crate::source) fn into_parts(self) -> (Controller, Option<SkipSession>) {
        (self.controller, self.session)
    }

    /// Migrates to `uri`.
    ///
    /// # Errors
    /// [`MigrateError::Qmp`] when QEMU refuses to begin, [`MigrateError::Lost`] when its monitor breaks,
    /// [`MigrateError::NotEnded`] when it was cancelled, and QEMU does not end.
    pub(in crate::source) async fn run(
        &mut self,
        uri: &str,
        stop: &Stop,
    ) -> Result<MigrationEnd, MigrateError> {
        let (mut waits, mut requests) = (stop.clone(), stop.clone());
        if let Some(ended) = waits.within(CANCELLING, self.follow(uri, &mut requests)).await {
            return ended;
        }
        let (reason, _) = requests.requested().await;
        // Its figures were waited for.
        let migration = self.controller.qemu().clone();
        if migration.stage() == Stage::Completed {
            return Ok(MigrationEnd { stage: Stage::Completed, migration, reason: None });
        }
        Err(MigrateError::NotEnded { reason, limit: CANCELLING })
    }

    async fn follow(&mut self, uri: &str, stop: &mut Stop) -> Result<MigrationEnd, MigrateError> {
        let mut events = self.qmp.events();
        self.record.limits(true);
        // QEMU does not know of a migration yet: there is none to cancel, and its answers are of an earlier one.
        stop.within(Duration::ZERO, self.arm()).await.ok_or(MigrateError::Cancelled)??;
        self.record.migrate();
        // A receiver that is gone by now is known before the library hints the set.
        self.listen().await?;
        self.driver.begin(self.qmp, uri).await?;
        if self.feed(Input::Begun).await? {
            return self.ended().await;
        }
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let limits = self.controller.hash_limits();
            let is_cancelled = self.controller.cancelled().is_some();
            let input = tokio::select! {
                reason = stop.cancelled(), if !is_cancelled => Some(Input::Cancel(reason)),
                input = next(&mut self.session, &limits) => Some(input),
                event = events.recv() => event.ok().and_then(|event| input_of(&event)),
                _ = tick.tick() => {
                    // Unread messages count: QEMU's monitor may have kept us from reading them.
                    if self.listen().await? {
                        return self.ended().await;
                    }
                    Some(self.session.as_mut().map_or(Input::Look(None), SkipSession::look))
                }
            };
            let Some(input) = input else { continue };
            if self.feed(input).await? {
                return self.ended().await;
            }
        }
    }

    /// Sets the parameters to begin with.
    async fn arm(&mut self) -> Result<(), QmpError> {
        for command in self.controller.step(Instant::now(), Input::Armed) {
            if let Command::SetParameters(parameters) = command {
                settings::set_parameters(self.qmp, &parameters).await?;
            }
        }
        Ok(())
    }

    /// Hands over the messages of the destination that are there. `true` once QEMU's migration has ended.
    async fn listen(&mut self) -> Result<bool, MigrateError> {
        let waiting = self.session.as_mut().map(SkipSession::waiting).unwrap_or_default();
        let mut has_ended = false;
        for input in waiting {
            has_ended |= self.feed(input).await?;
        }
        Ok(has_ended)
    }

    /// Hands over what has happened, and does what comes of it. `true` once QEMU's migration has ended.
    async fn feed(&mut self, input: Input) -> Result<bool, MigrateError> {
        let mut inputs = VecDeque::from([input]);
        let (mut has_ended, mut lost) = (false, None);
        while let Some(input) = inputs.pop_front() {
            let is_answer = matches!(input, Input::Qemu { .. });
            let commands = self.controller.step(Instant::now(), input);
            if is_answer {
                self.publish();
            }
            for command in commands {
                has_ended |= matches!(command, Command::End);
                match self.perform(command).await {
                    Ok(next) => inputs.extend(next),
                    // The others are done all the same: nothing may keep the migration from ending.
                    Err(error) => lost = lost.or(Some(error)),
                }
            }
        }
        lost.map_or(Ok(has_ended), Err)
    }

    /// Does one thing; gives what comes of it.
    async fn perform(&mut self, command: Command) -> Result<Option<Input>, MigrateError> {
        match command {
            Command::QueryQemu => {
                let answer = MigrationInfo::of(self.qmp).await;
                let answer = self.survivable(answer.map(Some))?;
                let session = self.session.as_ref();
                let channel_has_room = session.is_some_and(SkipSession::channel_has_room);
                return Ok(answer.map(|migration| Input::Qemu {
                    migration: Box::new(migration),
                    channel_has_room,
                }));
            }
            Command::SetParameters(parameters) => {
                let set = settings::set_parameters(self.qmp, &parameters).await;
                self.survivable(set)?;
            }
            Command::CancelMigration => {
                let cancelled = self.driver.cancel(self.qmp).await;
                self.survivable(cancelled)?;
            }
            Command::Enter(step) => self.record.enter(step),
            Command::Warn(warning) => self.record.warn(warning.to_string()),
            Command::End => {}
            command => {
                return Ok(self.session.as_mut().and_then(|session| session.perform(command)));
            }
        }
        Ok(None)
    }

    /// An error of one command is noted; a monitor that is gone is the end.
    fn survivable<T: Default>(&mut self, result: Result<T, QmpError>) -> Result<T, MigrateError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) if error.is_fatal() => Err(MigrateError::Lost(error)),
            Err(error) => {
                self.record.warn(error.to_string());
                Ok(T::default())
            }
        }
    }

    /// Passes on how it goes: to the report, the observer, and the people in the guest.
    fn publish(&mut self) {
        let mut snapshot = self.controller.snapshot();
        if let (Some(session), Some(telemetry)) = (&self.session, self.controller.telemetry()) {
            snapshot.network_bytes += session.channel_bytes();
            session.telemetry().report(telemetry);
        }
        self.record.snapshot(snapshot);
    }

    async fn ended(&mut self) -> Result<MigrationEnd, MigrateError> {
        let mut migration = self.controller.qemu().clone();
        let stage = migration.stage();
        // Completion can be seen before its figures are there.
        for _ in 0..20 {
            if stage != Stage::Completed || migration.total_time > 0 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
            let again = MigrationInfo::of(self.qmp).await;
            migration = self.survivable(again)?;
        }
        self.record.end(self.controller.entered());
        let reason = match stage {
            Stage::Completed => None,
            _ => {
                let cancelled = self.controller.cancelled().map(str::to_owned);
                cancelled.or_else(|| migration.error_desc.clone())
            }
        };
        Ok(MigrationEnd { stage, migration, reason })
    }
}

/// The controller's input from an event of QEMU.
fn input_of(event: &Event) -> Option<Input> {
    match &*event.name {
        "STOP" => return Some(Input::Runs(false)),
        "RESUME" => return Some(Input::Runs(true)),
        _ => {}
    }
    let pass = event.migration_pass().map(Input::Pass);
    pass.or_else(|| event.migration_status().map(|status| Input::Stage(stage(status))))
}

async fn next(session: &mut Option<SkipSession>, limits: &[HashLimit]) -> Input {
    match session {
        Some(session) => session.next(limits).await,
        None => std::future::pending().await,
    }
}
