//! Tells the source what has become of pages, in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::prove::{Answer, Fate};
use super::queue::Queue;
use super::tally::Tally;
use crate::channel::{ChannelError, Message, PageRange, Sender};

/// How long answers are gathered: long enough to merge ranges, short beside a bitmap sync.
const GATHERED: Duration = Duration::from_millis(5);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// Sends answers and progress until all who answer are gone; gives the channel back for the last word.
pub(super) async fn send(
    mut sender: Sender,
    mut answers: UnboundedReceiver<Vec<Answer>>,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
) -> Result<Sender, ChannelError> {
    let mut gathered: Vec<Answer> = Vec::new();
    let mut tick = interval(GATHERED);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Instant::now();
    loop {
        let more = tokio::select! {
            answer = answers.recv() => answer,
            _ = tick.tick() => {
                flush(&mut sender, &mut gathered).await?;
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    sender.send(&Message::Progress(tally.progress(queue.pages()))).await?;
                }
                continue;
            }
        };
        let Some(more) = more else { break };
        gathered.extend(more);
    }
    flush(&mut sender, &mut gathered).await?;
    Ok(sender)
}

async fn flush(sender: &mut Sender, gathered: &mut Vec<Answer>) -> Result<(), ChannelError> {
    for (fate, ranges) in merged(gathered) {
        let message = match fate {
            Fate::Placed => Message::Placed(ranges),
            Fate::NotPlaced(reason) => Message::NotPlaced(reason, ranges),
        };
        sender.send(&message).await?;
    }
    gathered.clear();
    Ok(())
}

/// Ranges by fate, sorted, with no two that touch.
fn merged(answers: &mut [Answer]) -> BTreeMap<Fate, Vec<PageRange>> {
    answers.sort_unstable_by_key(|(_, range)| range.first);
    let mut fates: BTreeMap<Fate, Vec<PageRange>> = BTreeMap::new();
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
    use crate::channel::NotPlaced;

    #[test]
    fn ranges_of_one_fate_that_touch_are_one() {
        let range = |first, count| PageRange { first, count };
        let differs = Fate::NotPlaced(NotPlaced::Differs);
        let mut answers = vec![
            (Fate::Placed, range(10, 5)),
            (differs, range(5, 5)),
            (Fate::Placed, range(0, 5)),
            (Fate::Placed, range(15, 1)),
            (differs, range(20, 1)),
        ];
        let fates = merged(&mut answers);
        assert_eq!(fates[&Fate::Placed], [range(0, 5), range(10, 6)]);
        assert_eq!(fates[&differs], [range(5, 5), range(20, 1)]);
    }
}
