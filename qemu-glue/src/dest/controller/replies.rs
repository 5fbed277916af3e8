//! When answers about pages are sent to the source: in batches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fate::{Fate, SettledPages};
use crate::channel::{Message, Progress, SetRange};

/// How long answers are gathered: long enough to merge ranges, short beside a bitmap sync.
const GATHERED: Duration = Duration::from_millis(5);
/// How often progress is sent.
const PROGRESS: Duration = Duration::from_millis(200);

/// Answers that were not sent yet.
#[derive(Debug)]
pub(super) struct Replies {
    gathered: Vec<SettledPages>,
    flushed: Instant,
    reported: Instant,
}

impl Replies {
    pub(super) const fn new(now: Instant) -> Self {
        Self { gathered: Vec::new(), flushed: now, reported: now }
    }

    pub(super) fn gather(&mut self, answers: Vec<SettledPages>) {
        self.gathered.extend(answers);
    }

    /// The messages that are due now; the channel has room for them.
    pub(super) fn due(
        &mut self,
        now: Instant,
        progress: Progress,
    ) -> impl Iterator<Item = Message> + use<> {
        let mut due = Vec::new();
        if now.saturating_duration_since(self.flushed) >= GATHERED {
            self.flushed = now;
            due.extend(self.flush());
            if now.saturating_duration_since(self.reported) >= PROGRESS {
                self.reported = now;
                due.push(Message::Progress(progress));
            }
        }
        due.into_iter()
    }

    /// All answers that were gathered.
    pub(super) fn flush(&mut self) -> impl Iterator<Item = Message> + use<> {
        let fates = merged(&mut self.gathered);
        self.gathered.clear();
        fates.into_iter().map(|(fate, ranges)| match fate {
            Fate::Installed => Message::Installed(ranges),
            Fate::NotInstalled(reason) => Message::NotInstalled(reason, ranges),
        })
    }
}

/// Ranges by fate, sorted, with no two that touch.
fn merged(answers: &mut [SettledPages]) -> BTreeMap<Fate, Vec<SetRange>> {
    answers.sort_unstable_by_key(|(_, range)| range.first);
    let mut fates: BTreeMap<Fate, Vec<SetRange>> = BTreeMap::new();
    for (fate, range) in answers {
        let ranges = fates.entry(*fate).or_default();
        match ranges.last_mut() {
            Some(last) if last.first + last.count == range.first => last.count += range.count,
            _ => ranges.push(*range),
        }
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::NotInstalled;

    #[test]
    fn ranges_of_one_fate_that_touch_are_one() {
        let range = |first, count| SetRange { first, count };
        let differs = Fate::NotInstalled(NotInstalled::Differs);
        let mut answers = vec![
            (Fate::Installed, range(10, 5)),
            (differs, range(5, 5)),
            (Fate::Installed, range(0, 5)),
            (Fate::Installed, range(15, 1)),
            (differs, range(20, 1)),
        ];
        let fates = merged(&mut answers);
        assert_eq!(fates[&Fate::Installed], [range(0, 5), range(10, 6)]);
        assert_eq!(fates[&differs], [range(5, 5), range(20, 1)]);
    }
}
