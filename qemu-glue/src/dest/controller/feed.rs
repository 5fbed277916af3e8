//! What is read next from which device, and what becomes of pages that no device brings.
//!
//! Each device has a queue and some buffers of its own, so none waits for another. One that has answered nothing for the
//! patience stalls: the pages of its reads are given up, and it gets no more requests until it answers. Its other pages wait
//! for that as long as there is hope ([`Limits::waits`]).
//!
//! Every page whose hash was taken gets one answer, unless it was left to QEMU before it was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use foreign::Text;

use super::buffers::{Buffers, Share};
use super::counters::Counters;
use super::device::DeviceProgress;
use super::fate::{Fate, SettledPages, Verified};
use super::queue::{Hash, Job, Queue, QueueError};
use super::trouble::InstallTrouble;
use crate::channel::{NotInstalled, Progress, SetRange};
use crate::dest::restore::Limits;
use crate::set::SkipSet;

/// Number of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dest) struct ReadId(u64);

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dest) enum Action {
    /// Read so many bytes from there, and pass on what came ([`Feed::read`]). There is a buffer for it.
    Read { id: ReadId, device: u16, place: u64, bytes: u64 },
    /// This has become of pages.
    Answer(Vec<SettledPages>),
}

#[derive(Debug)]
struct Read {
    device: u16,
    share: Share,
    begun: Instant,
    state: ReadState,
}

#[derive(Debug)]
enum ReadState {
    /// The device has not answered.
    Requested(Job),
    /// It was late: its pages are given up, and its buffer is the storage's until it answers.
    GivenUp,
    /// Its bytes are compared with the hashes of these pages.
    Verifying(Vec<SetRange>),
}

/// The restore of one set.
#[derive(Debug)]
pub(in crate::dest) struct Feed {
    queue: Queue,
    /// `None` where one cannot be read.
    devices: Vec<Option<DeviceProgress>>,
    buffers: Buffers,
    limits: Limits,
    reads: BTreeMap<ReadId, Read>,
    next: u64,
    counters: Counters,
}

impl Feed {
    /// Of a set, whose devices have these names; `None` where one cannot be read.
    pub(in crate::dest) fn new(
        set: Arc<SkipSet>,
        devices: Vec<Option<String>>,
        limits: Limits,
        now: Instant,
    ) -> Self {
        let is_read: Vec<bool> = devices.iter().map(Option::is_some).collect();
        let device = |name: Option<String>| name.map(|name| DeviceProgress::new(name, now));
        Self {
            queue: Queue::new(set),
            buffers: Buffers::new(limits.buffers, &is_read),
            devices: devices.into_iter().map(device).collect(),
            limits,
            reads: BTreeMap::new(),
            next: 0,
            counters: Counters::default(),
        }
    }

    /// Buffers that it uses at once at most.
    pub(in crate::dest) fn buffers(&self) -> usize {
        self.buffers.count() + self.reads.len()
    }

    /// How far it is.
    pub(in crate::dest) fn progress(&self) -> Progress {
        self.counters.progress(self.queue.pages())
    }

    /// What happened beside the path.
    pub(in crate::dest) fn warnings(&self) -> Vec<Text> {
        self.counters.warnings()
    }

    /// Takes hashes of the pages from `first` on.
    pub(in crate::dest) fn hashes(
        &mut self,
        now: Instant,
        first: u32,
        hashes: &[Hash],
        out: &mut Vec<Action>,
    ) -> Result<(), QueueError> {
        self.queue.put(first, hashes)?;
        self.fill(now, out);
        Ok(())
    }

    /// Leaves pages to QEMU.
    pub(in crate::dest) fn leave(&mut self, ranges: &[SetRange]) {
        ranges.iter().for_each(|range| self.queue.leave(*range));
    }

    /// A device has answered a read with so many bytes, or with an error. Gives what they have to be compared with; nothing
    /// where they are not needed any more.
    pub(in crate::dest) fn read(
        &mut self,
        now: Instant,
        id: ReadId,
        answer: Result<usize, InstallTrouble>,
        out: &mut Vec<Action>,
    ) -> Option<Job> {
        let read = self.reads.get_mut(&id)?;
        if let Some(Some(device)) = self.devices.get_mut(usize::from(read.device)) {
            device.answers(now);
        }
        let state = std::mem::replace(&mut read.state, ReadState::GivenUp);
        let job = match (answer, state) {
            (Ok(bytes), ReadState::Requested(job)) => {
                read.state = ReadState::Verifying(job.pages());
                self.counters.storage_bytes += bytes as u64;
                Some(job)
            }
            (Err(trouble), state) => {
                self.counters.warn(&trouble);
                self.end(id);
                if let ReadState::Requested(job) = state {
                    self.give_up(&job.pages(), trouble.reason(), out);
                }
                None
            }
            (Ok(_), _late) => {
                self.end(id);
                None
            }
        };
        self.fill(now, out);
        job
    }

    /// The pages of a read were verified and installed, or that ended badly; its buffer is free.
    pub(in crate::dest) fn verified(
        &mut self,
        now: Instant,
        id: ReadId,
        verified: Result<Verified, InstallTrouble>,
        out: &mut Vec<Action>,
    ) {
        let Some(Read { state: ReadState::Verifying(pages), .. }) = self.end(id) else { return };
        match verified {
            Ok(Verified { answers, counters }) => {
                self.counters.add(counters);
                out.push(Action::Answer(answers));
            }
            // Some of them may be installed by now: QEMU's copies overwrite those.
            Err(trouble) => {
                self.counters.warn(&trouble);
                self.give_up(&pages, trouble.reason(), out);
            }
        }
        self.fill(now, out);
    }

    /// Time has gone by.
    pub(in crate::dest) fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        let mut late = Vec::new();
        for read in self.reads.values_mut() {
            let Some(Some(device)) = self.devices.get_mut(usize::from(read.device)) else {
                continue;
            };
            if !matches!(read.state, ReadState::Requested(_))
                || !device.is_late(now, read.begun, self.limits.patience)
            {
                continue;
            }
            device.is_late_with_one();
            let (silent, device) = (device.silent(now), device.name.as_str().into());
            self.counters.warn(&InstallTrouble::Late { device, silent });
            if let ReadState::Requested(job) =
                std::mem::replace(&mut read.state, ReadState::GivenUp)
            {
                late.extend(job.pages());
            }
        }
        for device in self.devices.iter_mut().flatten() {
            device.look(now, self.limits.patience);
        }
        self.give_up(&late, NotInstalled::TooLate, out);
        self.fill(now, out);
    }

    /// A read is over, and its buffer free.
    fn end(&mut self, id: ReadId) -> Option<Read> {
        let read = self.reads.remove(&id)?;
        self.buffers.give(read.device.into(), read.share);
        Some(read)
    }

    /// Requests pages of the devices, as far as there are buffers.
    fn fill(&mut self, now: Instant, out: &mut Vec<Action>) {
        for index in 0..u16::try_from(self.devices.len()).unwrap_or(u16::MAX) {
            if !self.queue.waits_for(index) {
                continue;
            }
            match &self.devices[usize::from(index)] {
                None => self.give_up_waiting(index, NotInstalled::ReadFailed, out),
                Some(device) if device.stalls() => {
                    if !device.has_hope(now, self.limits.waits) {
                        self.give_up_waiting(index, NotInstalled::TooLate, out);
                    }
                }
                Some(_) => while self.request(now, index, out) {},
            }
        }
    }

    /// Requests the next pages of a device; returns whether there are some, and a buffer for them.
    fn request(&mut self, now: Instant, index: u16, out: &mut Vec<Action>) -> bool {
        let Some(share) = self.buffers.take(index.into()) else { return false };
        let job = self.queue.next(index, &self.limits.requests);
        let device = self.devices.get_mut(usize::from(index)).and_then(Option::as_mut);
        let (Some(job), Some(device)) = (job, device) else {
            self.buffers.give(index.into(), share);
            return false;
        };
        device.requested(now);
        let id = ReadId(self.next);
        self.next += 1;
        let (place, bytes) = (job.request.place, job.request.bytes());
        out.push(Action::Read { id, device: index, place, bytes });
        self.reads.insert(
            id,
            Read { device: index, share, begun: now, state: ReadState::Requested(job) },
        );
        true
    }

    /// Gives up all that waits for a device.
    fn give_up_waiting(&mut self, device: u16, reason: NotInstalled, out: &mut Vec<Action>) {
        while let Some(job) = self.queue.next(device, &self.limits.requests) {
            self.give_up(&job.pages(), reason, out);
        }
    }

    fn give_up(&mut self, ranges: &[SetRange], reason: NotInstalled, out: &mut Vec<Action>) {
        if ranges.is_empty() {
            return;
        }
        self.counters.not_installed +=
            ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        let fates = ranges.iter().map(|range| (Fate::NotInstalled(reason), *range));
        out.push(Action::Answer(fates.collect()));
    }
}
