//! One device of the set: whether it answers.

use std::time::{Duration, Instant};

/// A request may take this many times the patience while others are answered: one that was lost must
/// end as well.
const LOST: u32 = 8;

/// A storage that may stall.
#[derive(Debug)]
pub(super) struct DeviceProgress {
    /// Where it is, for people.
    pub(super) name: String,
    /// A request has taken too long and not ended yet.
    stalls: bool,
    /// Requests that it has not answered.
    outstanding: usize,
    /// When the storage answered last, or got a request after it had nothing to answer.
    since: Instant,
}

impl DeviceProgress {
    pub(super) const fn new(name: String, now: Instant) -> Self {
        Self { name, stalls: false, outstanding: 0, since: now }
    }

    /// Whether it has to answer before it gets another request.
    pub(super) const fn stalls(&self) -> bool {
        self.stalls
    }

    /// Whether it may be waited for so long: one that has nothing to answer is as good as one that answers.
    pub(super) fn has_hope(&self, now: Instant, waits: Duration) -> bool {
        !self.stalls || self.silent(now) < waits
    }

    /// Without a request there is no silence.
    pub(super) const fn requested(&mut self, now: Instant) {
        if self.outstanding == 0 {
            self.since = now;
        }
        self.outstanding += 1;
    }

    /// An error is an answer as well: the next request will show more.
    pub(super) const fn answers(&mut self, now: Instant) {
        self.since = now;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.stalls = false;
    }

    /// Whether a request of so long ago is late: one that is slow shares what the device can do with others, as long as
    /// these are answered.
    pub(super) fn is_late(&self, now: Instant, begun: Instant, patience: Duration) -> bool {
        let age = now.saturating_duration_since(begun);
        age >= patience && (self.silent(now) >= patience || age >= patience * LOST)
    }

    /// A request is late: it gets no more requests until it answers.
    pub(super) const fn is_late_with_one(&mut self) {
        self.stalls = true;
    }

    /// Time has gone by: with requests that it has not answered, it stalls once it has answered nothing for the patience, whether or not
    /// one of them is still wanted. Those that are not keep their buffers, and without a buffer it gets no more requests.
    pub(super) fn look(&mut self, now: Instant, patience: Duration) {
        self.stalls |= self.outstanding > 0 && self.silent(now) >= patience;
    }

    /// Time in which it could have answered and did not.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Duration = Duration::from_secs(120);

    #[test]
    fn only_one_that_is_asked_can_be_silent() {
        let mut now = Instant::now();
        let mut device = DeviceProgress::new("d".into(), now);
        now += 2 * WAITS;
        assert!(device.has_hope(now, WAITS), "it had nothing to answer");
        device.requested(now);
        device.is_late_with_one();
        assert!(device.has_hope(now, WAITS), "it got a request only now");
        now += 2 * WAITS;
        device.requested(now);
        assert!(!device.has_hope(now, WAITS), "a further request changes nothing");
        device.answers(now);
        assert!(device.has_hope(now, WAITS), "it answers again");
    }

    #[test]
    fn slow_is_not_late_and_lost_is() {
        let patience = Duration::from_secs(1);
        let begun = Instant::now();
        let mut device = DeviceProgress::new("d".into(), begun);
        (0..10).for_each(|_| device.requested(begun));
        let mut now = begun;
        for _ in 0..2 * LOST - 1 {
            now += patience / 2;
            assert!(!device.is_late(now, begun, patience), "others are answered");
            device.answers(now);
        }
        assert!(device.is_late(now + patience / 2, begun, patience), "this one never is");
        let begun = now;
        assert!(!device.is_late(now + patience * 9 / 10, begun, patience));
        assert!(device.is_late(now + patience, begun, patience), "none is");
    }
}
