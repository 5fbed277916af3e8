//! QEMU, its library, the destination and the threads that read, as far as the controller knows them. It carries out
//! the commands, and checks each against what must be so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fixedbitset::FixedBitSet;
use page_number::PageIndex;

use super::super::*;
use crate::channel::{Message, SetRange};
use crate::shim::{LibraryStatus, SetState};
use crate::source::hash::Hashed;
use crate::source::monitor::migration_info::RamStats;

/// Pages of the set, of which the first are zero.
pub(super) const PAGES: u32 = 256;
pub(super) const ZERO_PAGES: u32 = 16;
/// The longest silence of the destination.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

pub(super) const USER: MigrationParameters = MigrationParameters {
    max_bandwidth: 64 << 20,
    downtime_limit: 300,
    avail_switchover_bandwidth: None,
};

pub(super) fn range(first: u32, count: u32) -> SetRange {
    SetRange { first, count }
}

/// Everything but the controller.
#[derive(Debug)]
pub(super) struct World {
    pub(super) controller: Controller,
    pub(super) now: Instant,
    pub(super) runs: bool,
    pub(super) library: SetState,
    pub(super) syncs: u32,
    pub(super) confirmed: FixedBitSet,
    /// To be re-dirtied, as the host has asked.
    pub(super) requested: FixedBitSet,
    /// Re-dirtied by the library.
    pub(super) redirtied: FixedBitSet,
    redirtied_requested: u64,
    redirtied_unconfirmed: u64,
    /// Likewise, as far as the host has looked.
    known_redirtied: FixedBitSet,
    known_unconfirmed: u64,
    is_armed: bool,
    pub(super) reads: bool,
    /// Pages that the destination has the hash of.
    pub(super) hashed: u32,
    pub(super) channel: bool,
    pub(super) released: bool,
    pub(super) ended: bool,
    pub(super) is_cancelled: bool,
    pub(super) migration: MigrationInfo,
    pub(super) parameters: MigrationParameters,
    /// All commands so far.
    pub(super) commands: Vec<String>,
}

impl World {
    /// Armed, and QEMU has got `migrate`.
    pub(super) fn new(splits_load: bool) -> Self {
        let mut world = Self::armed(splits_load);
        world.step(Input::Begun);
        world
    }

    /// Armed; QEMU has not been told to migrate.
    pub(super) fn armed(splits_load: bool) -> Self {
        let now = Instant::now();
        let skip = SkipTask {
            pages: PAGES,
            zero_pages: ZERO_PAGES,
            devices: Vec::from([const { ZERO_PAGES..PAGES }]),
            unreadable: vec![range(200, 4)],
            first_pass_bytes: 1 << 30,
            silence: SILENCE,
            splits_load,
        };
        let (compressed, timeout) = (false, None);
        let task = Task { parameters: USER, compressed, skip: Some(skip), timeout };
        let bits = || FixedBitSet::with_capacity(PAGES as usize);
        let mut world = Self {
            controller: Controller::new(task, now),
            now,
            runs: true,
            library: SetState::Armed,
            syncs: 0,
            confirmed: bits(),
            requested: bits(),
            redirtied: bits(),
            redirtied_requested: 0,
            redirtied_unconfirmed: 0,
            known_redirtied: bits(),
            known_unconfirmed: 0,
            is_armed: true,
            reads: false,
            hashed: ZERO_PAGES,
            channel: true,
            released: false,
            ended: false,
            is_cancelled: false,
            migration: MigrationInfo { status: "setup".to_owned(), ..MigrationInfo::default() },
            parameters: USER,
            commands: Vec::new(),
        };
        world.step(Input::Armed);
        world
    }

    /// One whose set is hinted, in QEMU's second pass.
    pub(super) fn restoring(splits_load: bool) -> Self {
        let mut world = Self::new(splits_load);
        world.sync();
        world.sync();
        world.migration.ram.mbps = 900.0;
        world.look();
        world.query();
        assert_eq!(world.phase(), SkipPhase::Restoring);
        world.commands.clear();
        world
    }

    pub(super) fn phase(&self) -> SkipPhase {
        self.skip().phase
    }

    pub(super) fn skip(&self) -> &Skip {
        self.controller.skip.as_ref().unwrap()
    }

    /// Hands it over, and does what comes of it.
    pub(super) fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut number = 0;
        while let Some(input) = inputs.pop_front() {
            number += 1;
            assert!(number < 20, "it goes on for ever");
            for command in self.controller.step(self.now, input) {
                assert!(!self.ended, "{command:?} after the end");
                self.commands.push(name(&command));
                inputs.extend(self.perform(command));
            }
        }
        self.check();
    }

    fn perform(&mut self, command: Command) -> Option<Input> {
        match command {
            Command::QueryQemu => return Some(self.answer()),
            Command::ReadLibrary => return Some(self.library()),
            Command::SetParameters(parameters) => self.parameters = parameters,
            Command::CancelMigration => self.is_cancelled = true,
            Command::Confirm(ranges) => set(&mut self.confirmed, &ranges),
            Command::Redirty(ranges) => set(&mut self.requested, &ranges),
            Command::Disarm => self.is_armed &= self.library != SetState::Armed,
            Command::Release => self.release(),
            Command::StartReading => {
                assert_eq!(self.library, SetState::Hinted, "read before the hint had returned");
                self.reads = true;
            }
            Command::StopReading => self.reads = false,
            Command::Send(Message::Hashes { first, hashes }) => {
                if !self.channel {
                    return Some(Input::ChannelFull);
                }
                self.hashed = self.hashed.max(first + u32::try_from(hashes.len()).unwrap());
            }
            Command::Send(other) => panic!("{other:?}"),
            Command::End => self.ended = true,
            Command::Notify(_) | Command::Enter(_) | Command::Warn(_) => {}
        }
        None
    }

    fn release(&mut self) {
        assert!(!self.is_cancelled, "released, and was to end");
        assert_eq!(
            self.parameters.downtime_limit, 38,
            "released with the parameters of the throttle"
        );
        if self.runs && self.library == SetState::Hinted {
            assert_eq!(self.outstanding(), 0, "released with pages outstanding while the VM runs");
        }
        self.released = true;
    }

    /// Pages of which the library knows nothing.
    pub(super) fn outstanding(&self) -> usize {
        let mut known = self.confirmed.clone();
        known.union_with(&self.requested);
        known.union_with(&self.redirtied);
        PAGES as usize - known.count_ones(..)
    }

    /// Each page is accounted for, once, and as the library has it.
    fn check(&self) {
        let ledger = &self.skip().ledger;
        let mut known = self.confirmed.clone();
        known.union_with(&self.requested);
        known.union_with(&self.known_redirtied);
        let settled = known.count_ones(..) as u64;
        let account = ledger.installed_pages() + ledger.zero_pages() + ledger.redirtied_pages();
        assert_eq!(account, settled, "the ledger and the library differ");
        assert_eq!(ledger.outstanding(), u64::from(PAGES) - settled);
        let redirtied: u64 = self.skip().redirtied().values().sum();
        assert_eq!(redirtied, ledger.requested_pages(), "each has a reason");
        let both = self.confirmed.intersection(&self.requested).count();
        assert_eq!(both, 0, "confirmed and re-dirtied");
    }

    pub(super) fn look(&mut self) {
        let library = self.library();
        self.step(library);
    }

    /// What the library's memory says.
    fn library(&mut self) -> Input {
        let mut redirtied = Vec::new();
        // After the end, nobody looks.
        if !self.ended && self.redirtied_unconfirmed > self.known_unconfirmed {
            self.known_unconfirmed = self.redirtied_unconfirmed;
            self.known_redirtied = self.redirtied.clone();
            redirtied =
                self.redirtied.ones().map(|page| range(u32::try_from(page).unwrap(), 1)).collect();
        }
        Input::Look(Some(Box::new(Library { status: self.status(), redirtied })))
    }

    /// Time goes by between two looks.
    pub(super) fn pass_time(&mut self, time: Duration) {
        self.look();
        self.now += time;
        self.look();
    }

    /// As if QEMU was asked now.
    pub(super) fn query(&mut self) {
        self.step(self.answer());
    }

    fn answer(&self) -> Input {
        let mut migration = self.migration.clone();
        migration.ram.dirty_sync_count = self.syncs.into();
        Input::Qemu { migration: Box::new(migration), channel_has_room: self.channel }
    }

    /// QEMU's status from now on.
    pub(super) fn status_is(&mut self, status: &str) {
        status.clone_into(&mut self.migration.status);
    }

    /// A bitmap sync of QEMU, and what the library does then.
    pub(super) fn sync(&mut self) {
        if self.ended {
            return;
        }
        self.syncs += 1;
        if self.library == SetState::Armed {
            if self.is_armed {
                self.library = if self.runs { SetState::Hinted } else { SetState::Refused };
            }
            self.status_is("active");
            return;
        }
        if self.library != SetState::Hinted {
            return;
        }
        let mut now = self.requested.clone();
        now.difference_with(&self.redirtied);
        self.redirtied_requested += now.count_ones(..) as u64;
        self.redirtied.union_with(&now);
        if !self.runs {
            let mut rest = self.confirmed.clone();
            rest.union_with(&self.redirtied);
            rest.toggle_range(..);
            self.redirtied_unconfirmed += rest.count_ones(..) as u64;
            self.redirtied.union_with(&rest);
        }
    }

    /// A thread has hashed these.
    pub(super) fn hash(&mut self, first: u32, count: u32) {
        if self.reads {
            let hashes = vec![[1; 32]; count as usize];
            self.step(Input::Hashed(Hashed { first: PageIndex(first), hashes }));
        }
    }

    pub(super) fn peer_sends(&mut self, message: Message) {
        self.step(Input::Peer(message));
    }

    /// All pages that storage has are installed, and the zero pages looked at.
    pub(super) fn settle_all(&mut self) {
        self.hash(ZERO_PAGES, PAGES - ZERO_PAGES);
        let zero = vec![range(0, ZERO_PAGES)];
        self.step(Input::ZerosChecked(crate::source::zero::ZeroCheck {
            zero,
            written: Vec::new(),
        }));
        self.peer_sends(Message::Installed(vec![
            range(ZERO_PAGES, 200 - ZERO_PAGES),
            range(204, 52),
        ]));
        assert_eq!(self.outstanding(), 0);
    }

    pub(super) fn status(&self) -> LibraryStatus {
        let hinted = self.library == SetState::Hinted;
        LibraryStatus {
            state: self.library,
            reason: None,
            hint_begun_ns: hinted.then_some(1),
            hint_returned_ns: hinted.then_some(2),
            final_sync_ns: None,
            cleanup_ns: None,
            syncs: self.syncs,
            sync_times: Vec::new(),
            hinted: if hinted { PAGES.into() } else { 0 },
            redirtied_requested: self.redirtied_requested,
            redirtied_unconfirmed: self.redirtied_unconfirmed,
            throttled: 0,
        }
    }
}

fn set(bits: &mut FixedBitSet, ranges: &[SetRange]) {
    for SetRange { first, count } in ranges {
        bits.insert_range(*first as usize..(first + count) as usize);
    }
}

/// A command without what belongs to it.
fn name(command: &Command) -> String {
    let text = format!("{command:?}");
    let end = text.find(['(', ' ', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// QEMU that has sent much.
pub(super) fn ram(remaining: u64, normal: u64) -> RamStats {
    RamStats { remaining, normal, mbps: 900.0, ..RamStats::default() }
}
