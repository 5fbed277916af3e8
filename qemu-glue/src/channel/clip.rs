//! What the other host may send: numbers and lists of a size that a migration can have.
//!
//! Texts are bounded by their type. A control message is clipped as it is read, before anything keeps, logs or reports it. What only a set can bound, pages
//! and bytes of it, is bounded by who knows the set ([`Progress::within`]).

use super::MAX_DEVICES;
use super::length::{MAX_NAMES, MAX_WARNINGS};
use super::message::{Finish, Finished, Offer, PeerHello, Progress, Ready, Refused};
use migration_record::{Function, Side, Sync};

/// Longest time in seconds: thirty days, longer than any migration.
pub const MAX_SECONDS: f64 = 30.0 * 86_400.0;
/// Most CPU seconds: that time on 1024 CPUs.
const MAX_CPU_SECONDS: f64 = MAX_SECONDS * 1024.0;
/// Highest memory of a program in bytes, 64 TiB.
const MAX_MEMORY: u64 = 1 << 46;
/// Most of anything that is counted.
const MAX_COUNT: u64 = 1 << 48;
/// Latest Unix time: the year 2100.
const MAX_UNIX_SECONDS: f64 = 4_102_444_800.0;
/// Most bitmap syncs and functions of a time line.
const MAX_LINES: usize = 4096;

/// A value that the other host has sent, clipped to what it may be.
pub(super) trait Clip {
    /// It, clipped. What was within all bounds stays as it is.
    fn clipped(self) -> Self;
}

impl Clip for PeerHello {
    fn clipped(self) -> Self {
        self
    }
}

impl Clip for Offer {
    /// One more than there may be is left, to be refused.
    fn clipped(mut self) -> Self {
        self.blocks.truncate(MAX_NAMES);
        self.devices.truncate(MAX_DEVICES + 1);
        self.capabilities.truncate(MAX_NAMES);
        self
    }
}

impl Clip for Ready {
    fn clipped(mut self) -> Self {
        self.devices_left_out.truncate(MAX_DEVICES);
        self
    }
}

impl Clip for Refused {
    fn clipped(self) -> Self {
        self
    }
}

impl Clip for Progress {
    fn clipped(self) -> Self {
        let Self { storage_bytes, installed, already_present, not_installed, queued } = self;
        Self {
            storage_bytes: storage_bytes.min(MAX_COUNT),
            installed: installed.min(MAX_COUNT),
            already_present: already_present.min(MAX_COUNT),
            not_installed: not_installed.min(MAX_COUNT),
            queued: queued.min(MAX_COUNT),
        }
    }
}

impl Clip for Finish {
    fn clipped(self) -> Self {
        let begun_unix_s = number(self.begun_unix_s, 0.0, MAX_UNIX_SECONDS);
        Self { begun_unix_s, ..self }
    }
}

impl Clip for Finished {
    fn clipped(self) -> Self {
        Self {
            progress: self.progress.clipped(),
            cpu_s: number(self.cpu_s, 0.0, MAX_CPU_SECONDS),
            peak_memory_bytes: self.peak_memory_bytes.min(MAX_MEMORY),
            probes: self.probes.map(|side| Box::new(side.clipped())),
            warnings: self.warnings.into_iter().take(MAX_WARNINGS).collect(),
        }
    }
}

impl Clip for Side {
    fn clipped(self) -> Self {
        let function =
            |function: Function| Function { calls: function.calls.min(MAX_COUNT), ..function };
        let sync = |sync: Sync| Sync {
            begin_s: seconds(sync.begin_s),
            duration_ms: number(sync.duration_ms, 0.0, MAX_SECONDS * 1e3),
        };
        Self {
            functions: few(self.functions).into_iter().map(function).collect(),
            syncs: few(self.syncs).into_iter().map(sync).collect(),
            iterations: self.iterations.min(MAX_COUNT),
            iterating_s: number(self.iterating_s, 0.0, MAX_SECONDS),
            vm_stop_s: self.vm_stop_s.map(seconds),
            vm_start_s: self.vm_start_s.map(seconds),
            ended_s: self.ended_s.map(seconds),
            lost: self.lost.min(MAX_COUNT),
        }
    }
}

/// The first lines, without the room that the others took.
fn few<T>(mut lines: Vec<T>) -> Vec<T> {
    lines.truncate(MAX_LINES);
    lines.shrink_to_fit();
    lines
}

/// A time since the `migrate` command; negative before it.
fn seconds(seconds: f64) -> f64 {
    number(seconds, -MAX_SECONDS, MAX_SECONDS)
}

/// A number between two others; the smaller one's side where it is none.
fn number(number: f64, least: f64, most: f64) -> f64 {
    if number.is_nan() { least.max(0.0) } else { number.clamp(least, most) }
}

#[cfg(test)]
mod tests {
    use foreign::{Name, Text};

    use super::*;
    use crate::set::Block;

    #[test]
    fn nothing_of_another_host_is_larger_than_it_may_be() {
        let much = Function { calls: u64::MAX, ..Function::default() };
        let side = Side {
            functions: vec![much; 5000],
            syncs: vec![Sync { begin_s: 1e308, duration_ms: f64::NAN }; 5000],
            iterations: u64::MAX,
            iterating_s: -1.0,
            vm_stop_s: Some(f64::NEG_INFINITY),
            vm_start_s: Some(f64::INFINITY),
            ended_s: Some(f64::NAN),
            lost: u64::MAX,
        };
        let finished = Finished {
            progress: Progress {
                storage_bytes: u64::MAX,
                installed: u64::MAX,
                already_present: u64::MAX,
                not_installed: u64::MAX,
                queued: u64::MAX,
            },
            cpu_s: f64::INFINITY,
            peak_memory_bytes: u64::MAX,
            probes: Some(Box::new(side)),
            warnings: vec![Text::default(); 200],
        };
        let finished = finished.clipped();
        assert_eq!(finished.warnings.len(), MAX_WARNINGS);
        assert_eq!((finished.cpu_s, finished.peak_memory_bytes), (MAX_CPU_SECONDS, MAX_MEMORY));
        let Progress { storage_bytes, installed, already_present, not_installed, queued } =
            finished.progress;
        let counted = [storage_bytes, installed, already_present, not_installed, queued];
        assert_eq!(counted, [MAX_COUNT; 5]);
        let side = *finished.probes.unwrap();
        assert_eq!([side.functions[0].calls, side.iterations, side.lost], [MAX_COUNT; 3]);
        assert_eq!((side.functions.len(), side.syncs.len()), (MAX_LINES, MAX_LINES));
        assert!(side.functions.capacity() == MAX_LINES && side.syncs.capacity() == MAX_LINES);
        assert_eq!(side.syncs[0], Sync { begin_s: MAX_SECONDS, duration_ms: 0.0 });
        assert_eq!((side.iterating_s, side.ended_s), (0.0, Some(0.0)));
        assert_eq!((side.vm_stop_s, side.vm_start_s), (Some(-MAX_SECONDS), Some(MAX_SECONDS)));
        let status = Text::default();
        let finish = Finish { status, reason: None, begun_unix_s: -1e300 }.clipped();
        assert_eq!(finish.begun_unix_s, 0.0);
        let uri = Text::default();
        let ready = Ready { uri, devices_left_out: vec![(1, Text::default()); 5000] }.clipped();
        assert_eq!(ready.devices_left_out.len(), MAX_DEVICES);
        let name = || Name::try_from("x").unwrap();
        let offer = Offer {
            blocks: vec![Block { name: String::new(), length: 1 }; 5000],
            devices: vec![name(); 5000],
            runs: 0,
            capabilities: vec![name(); 5000],
            multifd: None,
            shares: false,
        };
        let offer = offer.clipped();
        // One device more than there may be, to be refused.
        assert_eq!((offer.blocks.len(), offer.devices.len()), (MAX_NAMES, MAX_DEVICES + 1));
        assert_eq!(offer.capabilities.len(), MAX_NAMES);
    }

    #[test]
    fn progress_is_no_more_than_the_set() {
        let all = Progress {
            storage_bytes: u64::MAX,
            installed: 101,
            already_present: u64::MAX,
            not_installed: 100,
            queued: u64::MAX,
        };
        let within = all.within(100);
        assert_eq!(
            (within.installed, within.already_present, within.not_installed),
            (100, 100, 100)
        );
        assert_eq!((within.queued, within.storage_bytes), (100 * 32, 100 * 32 * 4096));
        let honest = Progress { storage_bytes: 5000, installed: 1, ..Progress::default() };
        assert_eq!(honest.within(100), honest);
    }
}
