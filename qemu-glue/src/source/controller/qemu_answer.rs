//! What an answer of QEMU changes: the stage of its migration, the load split, its bandwidth, the switchover, convergence.

use std::time::Instant;

use page_number::PAGE_BYTES;

use super::command::{Command, Warning};
use super::skip::SkipPhase;
use super::throttle::{self, Bandwidth};
use super::{BYTES_PER_MEGABIT, Controller, convergence, load_split, switchover};
use crate::source::monitor::migration_info::{MigrationInfo, Stage};

impl Controller {
    /// Follows QEMU's answer.
    pub(super) fn follow_qemu(
        &mut self,
        now: Instant,
        migration: MigrationInfo,
        has_room: bool,
        out: &mut Vec<Command>,
    ) {
        self.syncs = self.syncs.max(migration.ram.dirty_sync_count);
        self.qemu = migration;
        let rate = self.qemu.ram.mbps * BYTES_PER_MEGABIT;
        if self.bandwidth == Bandwidth::Full {
            self.with_skip(|skip| skip.peer.network(rate));
        }
        match self.qemu.stage() {
            Stage::Completed | Stage::Failed | Stage::Cancelled => {
                self.has_ended = true;
                self.with_skip(|skip| skip.phase = SkipPhase::Released);
                return out.push(Command::End);
            }
            // Whoever has set `pause-before-switchover` has a reason to look before it goes on. What is not settled by
            // then is re-dirtied by the library: the VM has stopped.
            Stage::PreSwitchover => self.paused(out),
            Stage::None | Stage::Running => {
                self.running(now, has_room, out);
                self.look_at_convergence(now, out);
            }
        }
        // After a moment in which QEMU could send what is left, it may stop the VM as long as the user allows.
        let ram = self.qemu.ram;
        let (syncs, remaining) = (ram.dirty_sync_count, ram.remaining);
        if self.switchover.look(switchover::SwitchoverSample { at: now, syncs, remaining }) {
            out.push(Command::SetParameters(self.parameters));
        }
    }

    fn paused(&mut self, out: &mut Vec<Command>) {
        if !self.has_reported_pause && self.cancelled.is_none() {
            out.push(Command::Warn(Warning::Paused));
        }
        self.has_reported_pause = true;
    }

    fn running(&mut self, now: Instant, has_room: bool, out: &mut Vec<Command>) {
        let Some(phase) = self.skip.as_ref().map(|skip| skip.phase) else {
            if self.syncs > 1 {
                self.enter("convergence", out);
            }
            return;
        };
        if phase == SkipPhase::Released || self.cancelled.is_some() {
            return;
        }
        self.split_load(now, has_room, out);
        let bandwidth = self.throttle.bandwidth(self.throttle_sample());
        let bandwidth = match phase {
            // The sooner it is through, the sooner it takes up what is re-dirtied.
            SkipPhase::Redirtying if self.has_measured() => Bandwidth::Full,
            // A VM that stands still writes nothing again, and the sooner QEMU syncs, the sooner it knows what to send.
            _ if self.is_stopped && self.has_measured() => Bandwidth::Full,
            _ => bandwidth,
        };
        if self.syncs > 1 {
            self.enter("throttle", out);
        }
        if bandwidth != self.bandwidth {
            log::debug!("QEMU's bandwidth is {bandwidth:?}");
            self.bandwidth = bandwidth;
            out.push(Command::SetParameters(self.parameters.throttled(bandwidth)));
        }
    }

    /// Gives pages to QEMU where that is sooner.
    fn split_load(&mut self, now: Instant, has_room: bool, out: &mut Vec<Command>) {
        let (Some(skip), Some(split)) = (&mut self.skip, &mut self.split) else { return };
        if skip.phase != SkipPhase::Restoring {
            return;
        }
        let ram = self.qemu.ram;
        let pages = split.look(load_split::LoadSample {
            at: now,
            settled: skip.settled_by_storage(),
            outstanding: skip.ledger.outstanding(),
            sent: ram.normal * PAGE_BYTES,
            remaining: ram.remaining + skip.not_taken_up() * PAGE_BYTES,
            full: self.bandwidth == Bandwidth::Full,
            syncs: ram.dirty_sync_count,
        });
        // The destination has to know of them.
        if pages > 0 && has_room {
            let given = skip.leave_to_network(pages, out);
            split.given(given);
            log::debug!("{given} pages go by network, which is sooner");
        }
    }

    /// Warns when QEMU does not catch up with the guest.
    fn look_at_convergence(&mut self, now: Instant, out: &mut Vec<Command>) {
        let is_throttled = self.skip.as_ref().is_some_and(|skip| skip.phase != SkipPhase::Released);
        // Before its second pass, and while it is throttled, QEMU is not meant to.
        if is_throttled || self.syncs < 2 || self.cancelled.is_some() {
            return;
        }
        let ram = self.qemu.ram;
        let lost = self.convergence.look(convergence::ConvergenceSample {
            at: now,
            syncs: self.syncs,
            written: ram.dirty_pages_rate,
            carried: ram.pages_per_second,
        });
        out.extend(lost.map(|lost| Command::Warn(Warning::NotConverging(lost))));
    }

    /// QEMU has measured its bandwidth.
    pub(super) fn has_measured(&self) -> bool {
        self.qemu.ram.mbps > 0.0
    }

    /// What decides on QEMU's bandwidth.
    pub(super) fn throttle_sample(&self) -> throttle::ThrottleSample {
        let skip = self.skip.as_ref();
        throttle::ThrottleSample {
            measured: self.has_measured(),
            first_pass: skip.map_or(0, |skip| skip.task.first_pass_bytes),
            compressed: self.compressed,
            syncs: self.syncs,
            redirtied: skip.map_or(0, |skip| skip.ledger.redirtied_pages()),
        }
    }
}
