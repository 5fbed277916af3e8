//! All decisions of a migration at the source, in one state machine that does no I/O.
//!
//! [`Controller::step`] takes what has happened ([`Input`]) and the moment, and gives what is to be done
//! ([`Command`]s, in their order). The driver around it (`driver/`) queries QEMU, reads the library's memory and the
//! channel, and carries out the commands; it decides nothing. So every decision is tested without QEMU (`tests/`).
//!
//! | policy | decides on | file |
//! |---|---|---|
//! | the skipped pages | what is re-dirtied, when all is settled, what is trouble | `skip/`: `ledger.rs`, `peer.rs`, `allowance.rs`, `trouble.rs` |
//! | hash window | how far ahead of storage pages are hashed | `skip/hash_window.rs` |
//! | load split | which pages change over from storage to the network | `load_split.rs` |
//! | throttle | QEMU's bandwidth until the switchover is released | `throttle.rs`, `parameters.rs` |
//! | switchover | how long the VM may stand still | `switchover.rs` |
//! | convergence | whether QEMU catches up with the guest | `convergence.rs` |
//!
//! # Precedence
//! Where several apply to one input, the first of these decides:
//! 1. The end of QEMU's migration: nothing is commanded after it.
//! 2. Cancelled, by somebody or as its time is up: the switchover is not released any more; should it be too late to cancel, all pages must be there.
//! 3. The library's account: what it has re-dirtied by itself is settled, whatever the destination still answers.
//! 4. Settled: a destination that has settled all is not silent, whatever the clock shows, and trouble after it is ignored.
//! 5. Trouble: what is not settled is re-dirtied, and the migration goes on.
//! 6. Load split before throttle: pages that change over get their bandwidth with the same answer of QEMU.
//! 7. Re-dirtying before throttling: once all is settled, QEMU has the whole link, and the sooner it takes up what is
//!    re-dirtied.
//!
//! And in one step: parameters are the user's before the switchover is released; QEMU's migration is cancelled
//! before pages are re-dirtied.

mod command;
mod convergence;
mod input;
mod load_split;
mod parameters;
mod qemu_answer;
mod skip;
mod switchover;
mod throttle;
mod view;

use std::time::{Duration, Instant};

pub(super) use self::command::{Command, Warning};

use self::convergence::Convergence;
pub(super) use self::input::{Input, Library};
use self::load_split::LoadSplit;
pub(super) use self::skip::{LastWord, RestoreTrouble, SkipTask};
#[cfg(test)]
pub(super) use self::skip::{Ledger, PeerState, Settled};
use self::skip::{Skip, SkipPhase, SkipProgress};
use self::switchover::Switchover;
use self::throttle::{Bandwidth, Throttle};
pub(super) use crate::shim::MigrationParameters;
use crate::source::monitor::migration_info::{MigrationInfo, Stage};

/// How often QEMU is queried.
const QUERY_INTERVAL: Duration = Duration::from_millis(100);
/// How often while its bandwidth is not known, and it is throttled for that.
const QUERY_INTERVAL_EARLY: Duration = Duration::from_millis(20);

const BYTES_PER_MEGABIT: f64 = 125_000.0;

/// Why a migration is cancelled whose time is up.
pub(super) const TOO_LONG: &str = "it took longer than allowed";

/// Why what is left is re-dirtied when the migration is cancelled, as it stands in reports.
const CANCELLED: &str = "cancelled";

/// What a migration is to be like.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// QEMU's parameters as the user wants them.
    pub(super) parameters: MigrationParameters,
    /// QEMU compresses what it sends.
    pub(super) compressed: bool,
    /// The pages to skip; none in a stock migration.
    pub(super) skip: Option<SkipTask>,
    /// How long it may take, from now on.
    pub(super) timeout: Option<Duration>,
}

/// The state of one migration.
#[derive(Debug)]
pub(super) struct Controller {
    parameters: MigrationParameters,
    compressed: bool,
    skip: Option<Skip>,
    split: Option<LoadSplit>,
    throttle: Throttle,
    bandwidth: Bandwidth,
    switchover: Switchover,
    convergence: Convergence,
    step: &'static str,
    /// QEMU's last answer, and when it was queried.
    qemu: MigrationInfo,
    queried: Option<Instant>,
    syncs: u64,
    /// When its time is up.
    deadline: Option<Instant>,
    /// QEMU has got `migrate`: before that there is nothing to cancel.
    has_begun: bool,
    cancelled: Option<String>,
    is_stopped: bool,
    has_reported_pause: bool,
    has_ended: bool,
}

impl Controller {
    /// Before the migration.
    #[must_use]
    pub(super) fn new(task: Task, now: Instant) -> Self {
        let Task { parameters, compressed, skip, timeout } = task;
        let splits_load = skip.as_ref().is_some_and(|skip| skip.splits_load);
        Self {
            parameters,
            compressed,
            skip: skip.map(|skip| Skip::new(skip, now)),
            split: splits_load.then(LoadSplit::default),
            throttle: Throttle::new(),
            bandwidth: Bandwidth::Throttled,
            switchover: Switchover::default(),
            convergence: Convergence::default(),
            step: "",
            qemu: MigrationInfo::default(),
            queried: None,
            syncs: 0,
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            has_begun: false,
            cancelled: None,
            is_stopped: false,
            has_reported_pause: false,
            has_ended: false,
        }
    }

    /// What is to be done, in this order, now that this has happened.
    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Command> {
        let mut out = Vec::new();
        if self.has_ended {
            self.after(input);
            return out;
        }
        let answered = matches!(input, Input::Qemu { .. });
        self.heed_deadline(now, &input, &mut out);
        match input {
            Input::Armed => self.arm(now, &mut out),
            Input::Begun => {
                self.has_begun = true;
                self.begin(now);
                self.enter("first pass", &mut out);
            }
            Input::Look(library) => self.look(now, library, &mut out),
            Input::Qemu { migration, channel_has_room } => {
                self.follow_qemu(now, *migration, channel_has_room, &mut out);
            }
            Input::Pass(pass) => self.pass(now, pass, &mut out),
            Input::Stage(stage) if stage != Stage::Running => self.query(now, &mut out),
            Input::Stage(_) => {}
            Input::Runs(runs) => self.runs(now, runs, &mut out),
            Input::Cancel(reason) => self.cancel(reason, &mut out),
            Input::Peer(message) => self.attempt(|skip, out| skip.receive(message, out), &mut out),
            Input::ZerosChecked(looked) => {
                self.attempt(|skip, out| skip.zeros_checked(looked, out), &mut out)
            }
            Input::ChannelGone(Some(error)) => {
                self.trouble(RestoreTrouble::ChannelBroke(error), &mut out)
            }
            Input::ChannelGone(None) => self.trouble(RestoreTrouble::ChannelEnded, &mut out),
            Input::ChannelFull => self.trouble(RestoreTrouble::ChannelFull, &mut out),
            Input::NoThread(error) => self.trouble(RestoreTrouble::NoThread(error), &mut out),
            Input::Hashed(hashed) => self.with_skip(|skip| skip.hashed(hashed, &mut out)),
            Input::HashesEnded => self.with_skip(|skip| skip.hashes_ended(&mut out)),
            Input::ZerosEnded => self.with_skip(|skip| skip.zeros_ended(&mut out)),
        }
        // QEMU's answer is no reason for the next query.
        if !answered
            && self
                .queried
                .is_some_and(|queried| now.saturating_duration_since(queried) >= self.every())
        {
            self.query(now, &mut out);
        }
        out
    }

    /// Of what comes after the end, only the destination's last word is of use.
    fn after(&mut self, input: Input) {
        if let (Some(skip), Input::Peer(message)) = (&mut self.skip, input) {
            let _ = skip.receive(message, &mut Vec::new());
        }
    }

    fn with_skip(&mut self, work: impl FnOnce(&mut Skip)) {
        if let Some(skip) = &mut self.skip {
            work(skip);
        }
    }

    fn attempt(
        &mut self,
        work: impl FnOnce(&mut Skip, &mut Vec<Command>) -> Result<(), RestoreTrouble>,
        out: &mut Vec<Command>,
    ) {
        let done = self.skip.as_mut().map(|skip| work(skip, out));
        if let Some(Err(trouble)) = done {
            self.trouble(trouble, out);
        }
    }

    /// How often QEMU is queried.
    fn every(&self) -> Duration {
        if self.skip.is_some() && !self.has_measured() {
            QUERY_INTERVAL_EARLY
        } else {
            QUERY_INTERVAL
        }
    }

    fn query(&mut self, now: Instant, out: &mut Vec<Command>) {
        // A VM that has come by a migration reports that one, as completed, until the next.
        if !self.has_begun {
            return;
        }
        if !out.iter().any(|command| matches!(command, Command::QueryQemu)) {
            self.queried = Some(now);
            out.push(Command::QueryQemu);
        }
    }

    /// The parameters to begin with.
    fn arm(&mut self, now: Instant, out: &mut Vec<Command>) {
        let mut parameters = self.parameters;
        if self.skip.is_some() {
            self.bandwidth = self.throttle.bandwidth(self.throttle_sample());
            parameters = self.parameters.throttled(self.bandwidth);
        }
        out.push(Command::SetParameters(parameters));
        self.begin(now);
    }

    fn begin(&mut self, now: Instant) {
        self.queried = Some(now);
        self.with_skip(|skip| skip.begin(now));
    }

    fn enter(&mut self, step: &'static str, out: &mut Vec<Command>) {
        if self.step != step {
            self.step = step;
            out.push(Command::Enter(step));
        }
    }

    /// The pass that had the link is over: each moment more of it is wasted on resends. And what
    /// QEMU has found shows whether it catches up.
    fn pass(&mut self, now: Instant, pass: u64, out: &mut Vec<Command>) {
        self.syncs = self.syncs.max(pass);
        if self.bandwidth == Bandwidth::Full || self.switchover.is_gentle() {
            self.query(now, out);
        }
    }

    /// Somebody has stopped the VM, or lets it run on; at the end, QEMU has stopped it for the switchover.
    fn runs(&mut self, now: Instant, runs: bool, out: &mut Vec<Command>) {
        self.is_stopped = !runs;
        self.query(now, out);
    }

    fn look(&mut self, now: Instant, library: Option<Box<Library>>, out: &mut Vec<Command>) {
        let (syncs, has_measured) = (self.syncs, self.has_measured());
        let Some(skip) = &mut self.skip else { return };
        if let Some(library) = library {
            skip.follow(*library, out);
        }
        match skip.look(now, syncs, out) {
            Ok(SkipProgress::Nothing) => {}
            Ok(SkipProgress::Settled) => {
                skip.end("", out);
                // QEMU that has measured its bandwidth syncs before it switches over.
                if has_measured || skip.not_taken_up() == 0 {
                    self.release(out);
                }
            }
            Ok(SkipProgress::TakenUp) => self.release(out),
            Err(trouble) => self.trouble(trouble, out),
        }
    }

    /// Pages cannot be verified any more: the rest is re-dirtied, the migration goes on. It is released once QEMU knows of
    /// what it has to send.
    fn trouble(&mut self, trouble: RestoreTrouble, out: &mut Vec<Command>) {
        let Some(skip) = self.skip.as_mut().filter(|skip| !skip.has_ended()) else { return };
        let name = trouble.name();
        out.push(Command::Warn(Warning::Trouble(trouble)));
        skip.end(name, out);
    }

    /// The user's parameters again, and no throttle: QEMU converges by itself.
    fn release(&mut self, out: &mut Vec<Command>) {
        // The throttle stays until QEMU has ended what was cancelled.
        if self.cancelled.is_some() {
            return;
        }
        out.push(Command::SetParameters(self.parameters.gentle()));
        self.switchover = Switchover::released(self.syncs);
        self.with_skip(|skip| skip.phase = SkipPhase::Released);
        out.push(Command::Release);
        self.enter("convergence", out);
    }

    /// Cancels what takes longer than it may, unless QEMU reports its end or somebody else cancels it.
    fn heed_deadline(&mut self, now: Instant, input: &Input, out: &mut Vec<Command>) {
        let is_up = self.has_begun && self.deadline.is_some_and(|deadline| now >= deadline);
        let is_over = match input {
            Input::Qemu { migration, .. } => migration.stage().is_over(),
            Input::Stage(stage) => stage.is_over(),
            Input::Cancel(_) => true,
            _ => false,
        };
        if is_up && !is_over && self.cancelled.is_none() {
            self.cancel(TOO_LONG.to_owned(), out);
        }
    }

    fn cancel(&mut self, reason: String, out: &mut Vec<Command>) {
        out.push(Command::Warn(Warning::Cancelled(reason.clone())));
        self.cancelled = Some(reason);
        out.push(Command::CancelMigration);
        // The throttle stays until QEMU has ended it. Should it be too late to cancel, all must be there.
        if let Some(skip) = self.skip.as_mut().filter(|skip| !skip.has_ended()) {
            skip.end(CANCELLED, out);
        }
    }
}

#[cfg(test)]
mod tests;
