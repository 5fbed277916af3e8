//! What happens at each notification of a migration: the state machine.
//!
//! ```text
//! Ready ── first sync, armed ──> Hinting ──> Hinted ── clean-up ──> Ended
//!   └───── any doubt ──────────> Refused
//! ```
//! A set is taken over once. It stays with the migration in whose first sync it was taken, and a
//! migration that ends takes with it what was armed meanwhile.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shim_abi::{ControlPage, LibraryState, RefusalReason, SYNC_TIMES, SyncEntry};

use crate::control::Shared;
use crate::hypervisor::Hypervisor;
use crate::skip::Skip;

/// Numbers of `enum PrecopyNotifyReason` (include/migration/misc.h, 5.1 to 11.1). SETUP (0) comes after
/// the first sync, in 7.2 without the big lock, and COMPLETE (3) after the last one in 11.1: of no use.
pub(crate) mod reason {
    /// PRECOPY_NOTIFY_BEFORE_BITMAP_SYNC.
    pub(crate) const BEFORE_BITMAP_SYNC: i32 = 1;
    /// PRECOPY_NOTIFY_AFTER_BITMAP_SYNC.
    pub(crate) const AFTER_BITMAP_SYNC: i32 = 2;
    /// PRECOPY_NOTIFY_CLEANUP, also of a migration that failed, and of a saved snapshot.
    pub(crate) const CLEANUP: i32 = 4;
}

/// All that the library is, once it is set up.
pub(crate) struct Engine<H> {
    vm: H,
    shared: Shared,
    /// The set that is hinted away in the migration under way.
    skip: Option<Skip>,
    /// Whether a migration has synced and not been cleaned up.
    migrating: bool,
}

impl<H: Hypervisor> Engine<H> {
    pub(crate) fn new(vm: H, shared: Shared) -> Self {
        shared.publish(LibraryState::Ready);
        Self { vm, shared, skip: None, migrating: false }
    }

    /// Called by QEMU, under its big lock.
    pub(crate) fn notified(&mut self, reason: i32) {
        match reason {
            reason::BEFORE_BITMAP_SYNC => self.before_sync(),
            reason::AFTER_BITMAP_SYNC => self.after_sync(),
            reason::CLEANUP => self.cleaned_up(),
            _ => {}
        }
    }

    fn before_sync(&mut self) {
        let (now, control) = (self.vm.now(), self.shared.control);
        if !self.migrating {
            self.migrating = true;
            control.syncs.store(0, Relaxed);
        }
        if let Some(time) = self.sync_time() {
            time.ended.store(0, Relaxed);
            time.begun.store(now, Relaxed);
        }
        let Some(skip) = &mut self.skip else { return };
        if self.vm.is_running() && self.shared.is_driven() {
            let pages = skip.redirty_requested(&self.vm, control);
            control.redirtied_requested.fetch_add(pages, Relaxed);
            // Somebody has let it run on: the stop before was no switchover.
            control.final_sync.store(0, Relaxed);
            let throttled = control.throttle.load(Relaxed);
            if throttled > 0 {
                skip.throttle(&self.vm, throttled);
                control.throttled.fetch_add(1, Relaxed);
            }
        } else {
            // Also when somebody has stopped the VM meanwhile: then it costs time, nothing else. Without
            // anybody who drives the set, nothing more is confirmed, and nobody lets it go.
            control.throttle.store(0, Relaxed);
            let pages = skip.redirty_unconfirmed(&self.vm);
            // The host that sees the figure sees the bits.
            control.redirtied_unconfirmed.fetch_add(pages, Release);
            if !self.vm.is_running() && control.final_sync.load(Relaxed) == 0 {
                control.final_sync.store(now, Relaxed);
            }
        }
    }

    fn after_sync(&mut self) {
        let (now, control) = (self.vm.now(), self.shared.control);
        let first = control.syncs.load(Relaxed) == 0;
        if let Some(time) = self.sync_time() {
            time.ended.store(now, Relaxed);
        }
        control.syncs.fetch_add(1, Relaxed);
        if !self.take_armed() {
            return;
        }
        if !first {
            // QEMU may have sent any page by now: a page that it sent before the hint would stay old
            // at the destination, where it looks as if it had come after.
            self.refuse(RefusalReason::Late);
            return;
        }
        if !self.shared.is_driven() {
            self.refuse(RefusalReason::Abandoned);
            return;
        }
        match Skip::take(&self.shared, &self.vm) {
            Ok(skip) => self.hint(skip),
            Err(reason) => self.refuse(reason),
        }
    }

    fn hint(&mut self, skip: Skip) {
        let control = self.shared.control;
        control.hint_begun.store(self.vm.now(), Relaxed);
        self.shared.publish(LibraryState::Hinting);
        let skip = self.skip.insert(skip);
        skip.hint(&self.vm);
        control.hinted.store(u64::from(skip.pages), Relaxed);
        control.hint_returned.store(self.vm.now(), Relaxed);
        self.shared.publish(LibraryState::Hinted);
    }

    fn cleaned_up(&mut self) {
        self.migrating = false;
        if self.skip.take().is_some() {
            self.shared.control.cleanup.store(self.vm.now(), Relaxed);
            self.shared.publish(LibraryState::Ended);
        }
        if self.take_armed() {
            self.refuse(RefusalReason::Ended);
        }
    }

    /// Takes over what is armed, so that it is armed no more; whether there was something.
    fn take_armed(&self) -> bool {
        let control = self.shared.control;
        let armed = control.armed.load(Acquire);
        if armed == control.taken.load(Relaxed) {
            return false;
        }
        // A set in use keeps its figures.
        if self.skip.is_none() {
            reset(control);
            // Not the state of the set before, for a host that looks just now.
            self.shared.publish(LibraryState::Ready);
        }
        control.taken.store(armed, Release);
        true
    }

    fn refuse(&self, reason: RefusalReason) {
        let state = if self.skip.is_some() { LibraryState::Hinted } else { LibraryState::Refused };
        self.shared.refuse(state, reason);
    }

    fn sync_time(&self) -> Option<&SyncEntry> {
        let control = self.shared.control;
        control.sync_times.get(control.syncs.load(Relaxed) as usize % SYNC_TIMES)
    }
}

/// Clears the figures of the set before.
fn reset(control: &ControlPage) {
    control.reason.store(0, Relaxed);
    let figures = [
        &control.hint_begun,
        &control.hint_returned,
        &control.final_sync,
        &control.cleanup,
        &control.hinted,
        &control.redirtied_requested,
        &control.redirtied_unconfirmed,
        &control.throttled,
    ];
    for figure in figures {
        figure.store(0, Relaxed);
    }
}
