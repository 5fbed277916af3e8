//! Serves a source from `Ready` or `Refused` to the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foreign::Text;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::answers;
use super::error::ReceiveError;
use super::event::{Event, Observer, Outcome};
use super::limits::Limits;
use super::liveness::Liveness;
use super::offer::name_of;
use super::prepare::Prepared;
use super::refusal::Refusal;
use super::restore::Restore;
use crate::channel::{ChannelError, Finish, Finished, Message, PageRange, Receiver, Sender};
use crate::timeline::{Watched, now_ns};
use crate::{error_chain, usage};

/// How long the VM may take to run here after its source has let it go.
const STARTS: Duration = Duration::from_millis(100);
/// How long the source may take to take the last answers, and the last word.
const LAST_WORD: Duration = Duration::from_secs(10);
/// How often the observer is told of progress.
const TOLD: Duration = Duration::from_millis(200);

/// Both ends of the channel to one source.
pub(super) type Channel = (Sender, Receiver);

/// Restores until the source says how the migration ended; nothing is installed when it returns.
pub(super) async fn restore(
    prepared: Prepared,
    (sender, mut receiver): Channel,
    limits: Limits,
    mut liveness: Liveness,
    watched: Watched,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let Prepared { set, devices, target } = prepared;
    let pages = set.pages();
    let (restore, answers) = Restore::start(set, devices, target, limits);
    let (queue, tally) = (restore.queue(), restore.tally());
    let mut sending = JoinSet::new();
    sending.spawn(answers::send(sender, answers, queue, tally.clone()));
    let mut peak_memory_bytes = usage::memory_bytes();
    let following = Following { restore: &restore, liveness: &mut liveness, pages, taken: 0 };
    let followed = tokio::select! {
        followed = following.follow(&mut receiver, &mut peak_memory_bytes, observer) => followed,
        // It ends before the restore only where the source takes no answers.
        ended = sending.join_next() => Err(sent(ended).err().unwrap_or(ChannelError::Closed).into()),
    };
    let progress = restore.progress();
    restore.stop().await;
    let finish = followed?;
    let sender =
        timeout(LAST_WORD, sending.join_next()).await.ok().and_then(|ended| sent(ended).ok());
    let remarks = tally.remarks();
    let cpu_s = usage::cpu_s();
    let finished = Finished { progress, cpu_s, peak_memory_bytes, probes: None, remarks };
    Ok(end(sender, finish, finished, watched).await)
}

fn sent(
    ended: Option<Result<Result<Sender, ChannelError>, JoinError>>,
) -> Result<Sender, ChannelError> {
    ended.ok_or(ChannelError::Closed)?.map_err(|_| ChannelError::Closed)?
}

/// What is done as the source says it.
struct Following<'a> {
    restore: &'a Restore,
    liveness: &'a mut Liveness,
    pages: u32,
    /// Pages that the source has left to QEMU, each once.
    taken: u64,
}

impl Following<'_> {
    /// Does what the source says until it says how the migration ended.
    async fn follow(
        mut self,
        receiver: &mut Receiver,
        peak_memory_bytes: &mut u64,
        observer: Observer<'_>,
    ) -> Result<Finish, ReceiveError> {
        let mut tick = interval(TOLD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                // What is said is no reason not to look.
                biased;
                _ = tick.tick() => {
                    *peak_memory_bytes = usage::memory_bytes().max(*peak_memory_bytes);
                    let progress = self.restore.progress();
                    observer(&Event::Progress(progress));
                    // Pages that differ are no work: any bytes serve as their hashes.
                    self.liveness.look(progress.installed + progress.delivered).await?;
                    continue;
                }
                message = receiver.receive() => message?,
            };
            match message {
                Message::Hashes { first, hashes } => self.restore.hashes(first, &hashes)?,
                Message::Taken(ranges) => self.leave(&ranges)?,
                Message::Finish(finish) => return Ok(finish),
                other => {
                    let (got, expected) = (name_of(&other), "hashes");
                    return Err(ReceiveError::OutOfTurn { got, expected });
                }
            }
        }
    }

    /// A source leaves each page to QEMU once; without a bound, one frame could name all of them 100,000 times.
    fn leave(&mut self, ranges: &[PageRange]) -> Result<(), ReceiveError> {
        self.taken += ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        if self.taken > u64::from(self.pages) {
            return Err(ReceiveError::Taken { pages: self.pages });
        }
        self.restore.leave(ranges);
        Ok(())
    }
}

/// Waits for the end of a migration in which nothing is restored.
pub(super) async fn stand_by(
    (sender, mut receiver): Channel,
    refusal: Refusal,
    mut liveness: Liveness,
    watched: Watched,
) -> Result<Outcome, ReceiveError> {
    let mut tick = interval(TOLD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let finish = loop {
        tokio::select! {
            biased;
            _ = tick.tick() => liveness.look(0).await?,
            // Whatever else the source still says, it knows that nothing comes of it.
            message = receiver.receive() => if let Message::Finish(finish) = message? {
                break finish;
            },
        }
    };
    let finished = Finished {
        remarks: vec![error_chain(&refusal).into()],
        peak_memory_bytes: usage::memory_bytes(),
        ..Finished::default()
    };
    let outcome = end(Some(sender), finish, finished, watched).await;
    Ok(Outcome { refused: Some(error_chain(&refusal).into()), ..outcome })
}

/// What CLOCK_MONOTONIC was in ns at a Unix time of the past in seconds.
fn zero_ns(unix_s: f64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = Duration::try_from_secs_f64(now.as_secs_f64() - unix_s).unwrap_or_default();
    now_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))
}

/// The last word, unless the source takes none any more.
async fn end(
    sender: Option<Sender>,
    finish: Finish,
    mut finished: Finished,
    watched: Watched,
) -> Outcome {
    // The source may know that it has lost the VM before the VM runs here.
    sleep(STARTS).await;
    let (side, remark) = watched.end(zero_ns(finish.begun_unix_s)).await;
    finished.probes = side.map(Box::new);
    finished.remarks.extend(remark.map(Text::from));
    let said = async {
        let mut sender = sender.ok_or(ChannelError::Closed)?;
        sender.send(&Message::Finished(finished.clone())).await?;
        sender.close().await
    };
    // The source may be gone by now: that changes nothing.
    let late = |_| Err(ChannelError::NotTaken(LAST_WORD.as_secs()));
    if let Err(error) = timeout(LAST_WORD, said).await.unwrap_or_else(late) {
        log::info!("the source did not wait for the last word: {error}");
    }
    Outcome { migration: Text::default(), finish, finished, refused: None }
}
