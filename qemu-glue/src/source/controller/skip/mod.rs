//! The skipped pages, from the hint to the last one settled.
//!
//! ```text
//! AwaitingHint ── hint returned ──> Restoring ── nothing outstanding ──> Redirtying ── QEMU has it ──> Released
//!       └──── refused, trouble ─────────┴──── trouble, cancel ───────────────┘
//! ```
//! Trouble is whatever keeps pages from being verified. It ends the restore: what is not settled is re-dirtied
//! while the VM still runs, and the migration goes on as a stock one (invariants I1, I8). A set that
//! no migration has taken yet is taken back instead.
//!
//! QEMU takes up re-dirtied pages at its next sync. Released before that, it may switch over without one (see `throttle.rs`),
//! and has all of them to send while the VM stands still.

mod allowance;
mod hash_window;
mod ledger;
mod peer;
mod task;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(in crate::source) use self::ledger::Ledger;
pub(in crate::source) use self::peer::{LastWord, PeerState, Settled};
pub(in crate::source) use self::task::SkipTask;
pub(in crate::source) use self::trouble::RestoreTrouble;
use super::command::Command;
use super::input::Library;
use crate::channel::{Message, NotInstalled, SetRange};
use crate::shim::{LibraryStatus, SetState};
use crate::source::hash::Hashed;
use crate::source::zero::ZeroCheck;

/// How long the library may take from the `migrate` command to the end of its hints; connecting to the
/// destination's QEMU is part of it.
pub(super) const HINT: Duration = Duration::from_secs(60);

/// Why pages are re-dirtied: the reason as it stands in reports.
mod reason {
    /// The network is sooner than storage.
    pub(super) const SOONER: &str = "sooner-by-network";
    /// They were zero before the hint, and are not after it.
    pub(super) const WRITTEN: &str = "written";
    /// The source's own threads did not read them.
    pub(super) const NOT_READ: &str = "not-read";
    /// The destination cannot read their block device.
    pub(super) const LEFT_OUT: &str = "device-left-out";
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum SkipPhase {
    /// The library has not hinted the set yet.
    AwaitingHint,
    /// Hashes go out, answers come in.
    Restoring,
    /// All is settled, and what is re-dirtied is on its way to QEMU.
    Redirtying,
    /// QEMU may switch over.
    Released,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkipProgress {
    /// Nothing new.
    Nothing,
    /// No page is outstanding.
    Settled,
    /// QEMU knows of all that it has to send.
    TakenUp,
}

/// The state of the session.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) task: SkipTask,
    pub(super) phase: SkipPhase,
    pub(super) ledger: Ledger,
    pub(super) peer: PeerState,
    /// The library's memory at the last look.
    pub(super) library: Option<LibraryStatus>,
    begun: Instant,
    hashed: u64,
    /// Pages that the destination did not place.
    not_installed: u64,
    /// Pages re-dirtied, by reason.
    redirtied: BTreeMap<&'static str, u64>,
    /// Syncs that the library had seen after all was re-dirtied.
    taken_up_after: Option<u32>,
}

impl Skip {
    pub(super) fn new(task: SkipTask, now: Instant) -> Self {
        Self {
            ledger: Ledger::of_devices(task.pages, &task.devices),
            peer: PeerState::new(task.pages, task.silence, now),
            phase: SkipPhase::AwaitingHint,
            library: None,
            begun: now,
            hashed: 0,
            not_installed: 0,
            redirtied: BTreeMap::new(),
            taken_up_after: None,
            task,
        }
    }

    /// All is settled; trouble is none any more.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.phase, SkipPhase::Redirtying | SkipPhase::Released)
    }

    /// QEMU gets `migrate` now: the library's time begins.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.begun = now;
    }

    pub(super) const fn hashed_pages(&self) -> u64 {
        self.hashed
    }

    pub(super) const fn redirtied(&self) -> &BTreeMap<&'static str, u64> {
        &self.redirtied
    }

    /// Pages that storage was asked for and that are settled.
    pub(super) const fn settled_by_storage(&self) -> u64 {
        self.ledger.installed_pages() + self.not_installed
    }

    /// Pages re-dirtied that QEMU has not learnt of yet.
    pub(super) fn not_taken_up(&self) -> u64 {
        let taken_up = self.library.as_ref().map_or(0, |library| library.redirtied_requested);
        self.ledger.requested_pages().saturating_sub(taken_up)
    }

    /// Takes the state of the library's memory. Pages that it has re-dirtied by itself, as it does when the VM was stopped, are settled: QEMU
    /// sends them, and no answer is needed.
    pub(super) fn follow(
        &mut self,
        Library { status, redirtied }: Library,
        out: &mut Vec<Command>,
    ) {
        self.library = Some(status);
        let fresh: Vec<SetRange> =
            redirtied.into_iter().flat_map(|range| self.ledger.follow(range)).collect();
        if !fresh.is_empty() {
            log::info!("the library in QEMU has re-dirtied {} pages by itself", count(&fresh));
            out.push(Command::Notify(Message::Redirtied(fresh)));
        }
    }

    /// Looks at the library and at the clock. An error is trouble.
    pub(super) fn look(
        &mut self,
        now: Instant,
        syncs: u64,
        out: &mut Vec<Command>,
    ) -> Result<SkipProgress, RestoreTrouble> {
        match self.phase {
            SkipPhase::Released => Ok(SkipProgress::Nothing),
            SkipPhase::Redirtying => {
                Ok(if self.is_taken_up() { SkipProgress::TakenUp } else { SkipProgress::Nothing })
            }
            SkipPhase::AwaitingHint => self.await_hint(now, syncs, out),
            // First: who has settled all is not silent.
            SkipPhase::Restoring if self.ledger.outstanding() == 0 => Ok(SkipProgress::Settled),
            SkipPhase::Restoring => {
                self.peer.is_alive(now, &self.ledger).map(|()| SkipProgress::Nothing)
            }
        }
    }

    fn await_hint(
        &mut self,
        now: Instant,
        syncs: u64,
        out: &mut Vec<Command>,
    ) -> Result<SkipProgress, RestoreTrouble> {
        let late = now.saturating_duration_since(self.begun) > HINT;
        match &self.library {
            Some(LibraryStatus { state: SetState::Hinted, hint_returned_ns: Some(_), .. }) => {
                self.restore(out);
            }
            Some(LibraryStatus { state: SetState::Hinted, .. }) => {}
            Some(LibraryStatus { state: SetState::Refused, reason, .. }) => {
                return Err(RestoreTrouble::LibraryRefused { refusal: reason.clone() });
            }
            Some(library) if library.state == SetState::Ended => {
                return Err(RestoreTrouble::LibraryEnded);
            }
            Some(library) if library.state == SetState::Armed && syncs > 1 => {
                return Err(RestoreTrouble::LibraryMissed);
            }
            _ if late => return Err(RestoreTrouble::LibrarySilent { limit: HINT }),
            _ => {}
        }
        Ok(SkipProgress::Nothing)
    }

    /// The hint has returned: what is read of RAM from here on counts (invariant I2).
    fn restore(&mut self, out: &mut Vec<Command>) {
        self.phase = SkipPhase::Restoring;
        out.push(Command::StartReading);
        for range in std::mem::take(&mut self.task.unreadable) {
            let fresh = self.ledger.redirtied(range).unwrap_or_default();
            self.redirty(reason::LEFT_OUT, fresh, out);
        }
    }

    /// Hashes go out.
    pub(super) fn hashed(&mut self, Hashed { first, hashes }: Hashed, out: &mut Vec<Command>) {
        if self.phase != SkipPhase::Restoring {
            return;
        }
        let count = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        self.ledger.hash_sent(SetRange { first: first.0, count });
        self.hashed += u64::from(count);
        out.push(Command::Send(Message::Hashes { first: first.0, hashes }));
    }

    /// Pages that a thread could not read, or has left when it panicked, cannot be verified.
    pub(super) fn hashes_ended(&mut self, out: &mut Vec<Command>) {
        if self.phase == SkipPhase::Restoring {
            let unhashed = self.ledger.redirty_unhashed(self.task.zero_pages);
            self.leave(reason::NOT_READ, unhashed, out);
        }
    }

    /// Zero pages are settled without the destination: it has made holes of them.
    pub(super) fn zeros_checked(
        &mut self,
        ZeroCheck { zero, written }: ZeroCheck,
        out: &mut Vec<Command>,
    ) -> Result<(), RestoreTrouble> {
        if self.phase != SkipPhase::Restoring {
            return Ok(());
        }
        for range in zero {
            out.push(Command::Confirm(self.ledger.zero(range)?));
        }
        for range in written {
            let fresh = self.ledger.redirtied(range)?;
            self.redirty(reason::WRITTEN, fresh, out);
        }
        Ok(())
    }

    /// Zero pages that no thread has looked at again.
    pub(super) fn zeros_ended(&mut self, out: &mut Vec<Command>) {
        if self.phase == SkipPhase::Restoring {
            let zeros = SetRange { first: 0, count: self.task.zero_pages };
            let rest = self.ledger.redirtied(zeros).unwrap_or_default();
            self.leave(reason::NOT_READ, rest, out);
        }
    }

    /// Takes a message of the destination. An error is trouble.
    pub(super) fn receive(
        &mut self,
        message: Message,
        out: &mut Vec<Command>,
    ) -> Result<(), RestoreTrouble> {
        if self.has_ended() {
            self.peer.receive_after_end(message);
            return Ok(());
        }
        let mut settled = Vec::new();
        let received = self.peer.receive(message, &mut self.ledger, &mut settled);
        for settled in settled {
            match settled {
                Settled::Installed(fresh) => out.push(Command::Confirm(fresh)),
                Settled::NotInstalled(why, fresh) => {
                    self.not_installed += count(&fresh);
                    self.redirty(name(why), fresh, out);
                }
            }
        }
        received
    }

    /// Leaves up to `pages` pages to QEMU, those that storage would come to last; gives how many.
    pub(super) fn leave_to_network(&mut self, pages: u64, out: &mut Vec<Command>) -> u64 {
        let ranges = self.ledger.redirty_last(pages);
        let left = count(&ranges);
        self.redirty(reason::SOONER, ranges.clone(), out);
        out.push(Command::Notify(Message::Redirtied(ranges)));
        left
    }

    /// What is not settled is re-dirtied, for this reason. The switchover is not released yet.
    pub(super) fn end(&mut self, reason: &'static str, out: &mut Vec<Command>) {
        self.phase = SkipPhase::Redirtying;
        out.extend([Command::StopReading, Command::Disarm]);
        let rest = self.ledger.redirty_rest();
        if !rest.is_empty() {
            self.redirty(reason, rest.clone(), out);
            out.push(Command::Notify(Message::Redirtied(rest)));
        }
        self.taken_up_after = None;
        out.push(Command::ReadLibrary);
    }

    /// Leaves these pages to QEMU, and notifies the destination, which may wait for their hashes.
    fn leave(&mut self, reason: &'static str, ranges: Vec<SetRange>, out: &mut Vec<Command>) {
        if !ranges.is_empty() {
            log::error!("{} pages were not read at the source: QEMU sends them", count(&ranges));
            self.redirty(reason, ranges.clone(), out);
            out.push(Command::Notify(Message::Redirtied(ranges)));
        }
    }

    fn redirty(&mut self, reason: &'static str, ranges: Vec<SetRange>, out: &mut Vec<Command>) {
        if !ranges.is_empty() {
            *self.redirtied.entry(reason).or_default() += count(&ranges);
            out.push(Command::Redirty(ranges));
        }
    }

    /// Whether QEMU knows of all that it has to send.
    fn is_taken_up(&mut self) -> bool {
        let Some(library) = &self.library else { return false };
        // The library may take the set at the very moment in which it is taken back: the next look shows it.
        let Some(after) = self.taken_up_after else {
            self.taken_up_after = Some(library.syncs);
            return false;
        };
        let syncs = library.syncs.saturating_sub(after);
        match library.state {
            // It was taken back before a migration took it, or nothing of it was hinted.
            SetState::Armed | SetState::Refused | SetState::Ended => true,
            SetState::Hinting => false,
            // One that had begun before may have looked too early; the second has not, whatever the figures show.
            SetState::Hinted => (syncs > 0 && self.not_taken_up() == 0) || syncs > 1,
        }
    }
}

fn count(ranges: &[SetRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.count)).sum()
}

/// The reason as it stands in reports.
const fn name(why: NotInstalled) -> &'static str {
    match why {
        NotInstalled::Differs => "differs",
        NotInstalled::ReadFailed => "read-failed",
        NotInstalled::InstallFailed => "install-failed",
        NotInstalled::TooLate => "too-late",
    }
}
