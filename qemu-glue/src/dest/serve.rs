//! Serves a source from `Ready` or `Refused` to the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foreign::Text;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::answers;
use super::error::ReceiveError;
use super::event::{Event, Observer, Outcome};
use super::offer::name_of;
use super::prepare::Prepared;
use super::refusal::Refusal;
use super::restore::{Limits, Restore};
use crate::channel::{ChannelError, Finish, Finished, Message, Receiver, Sender};
use crate::timeline::{Watched, now_ns};
use crate::{error_chain, usage};

/// How long the VM may take to run here after its source has let it go.
const STARTS: Duration = Duration::from_millis(100);
/// How often the observer is told of progress.
const TOLD: Duration = Duration::from_millis(200);

/// Restores until the source says how the migration ended; nothing is installed when it returns.
pub(super) async fn restore(
    prepared: Prepared,
    sender: Sender,
    mut receiver: Receiver,
    limits: Limits,
    watched: Watched,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let Prepared { set, media, target } = prepared;
    let (restore, answers) = Restore::start(set, media, target, limits);
    let (queue, tally) = (restore.queue(), restore.tally());
    let sending = tokio::spawn(answers::send(sender, answers, queue, tally.clone()));
    let mut peak_memory_bytes = usage::memory_bytes();
    let followed = follow(&restore, &mut receiver, &mut peak_memory_bytes, observer).await;
    let progress = restore.progress();
    restore.stop().await;
    let finish = followed?;
    let lost = |_| ChannelError::Closed;
    let sender = sending.await.map_err(lost)??;
    let remarks = tally.remarks();
    let cpu_s = usage::cpu_s();
    let finished = Finished { progress, cpu_s, peak_memory_bytes, probes: None, remarks };
    end(sender, finish, finished, watched).await
}

/// Does what the source says until it says how the migration ended.
async fn follow(
    restore: &Restore,
    receiver: &mut Receiver,
    peak_memory_bytes: &mut u64,
    observer: Observer<'_>,
) -> Result<Finish, ReceiveError> {
    let mut tick = interval(TOLD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = receiver.receive() => message?,
            _ = tick.tick() => {
                *peak_memory_bytes = usage::memory_bytes().max(*peak_memory_bytes);
                observer(&Event::Progress(restore.progress()));
                continue;
            }
        };
        match message {
            Message::Hashes { first, hashes } => restore.hashes(first, &hashes)?,
            Message::Taken(ranges) => restore.leave(&ranges),
            Message::Finish(finish) => return Ok(finish),
            other => {
                let (got, expected) = (name_of(&other), "hashes");
                return Err(ReceiveError::OutOfTurn { got, expected });
            }
        }
    }
}

/// Waits for the end of a migration in which nothing is restored.
pub(super) async fn stand_by(
    sender: Sender,
    mut receiver: Receiver,
    refusal: Refusal,
    watched: Watched,
) -> Result<Outcome, ReceiveError> {
    let finish = loop {
        // Whatever the source still says, it knows that nothing comes of it.
        if let Message::Finish(finish) = receiver.receive().await? {
            break finish;
        }
    };
    let finished = Finished {
        remarks: vec![error_chain(&refusal).into()],
        peak_memory_bytes: usage::memory_bytes(),
        ..Finished::default()
    };
    let outcome = end(sender, finish, finished, watched).await?;
    Ok(Outcome { refused: Some(error_chain(&refusal).into()), ..outcome })
}

/// What CLOCK_MONOTONIC was in ns at a Unix time of the past in seconds.
fn zero_ns(unix_s: f64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = Duration::try_from_secs_f64(now.as_secs_f64() - unix_s).unwrap_or_default();
    now_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))
}

/// The last word.
async fn end(
    mut sender: Sender,
    finish: Finish,
    mut finished: Finished,
    watched: Watched,
) -> Result<Outcome, ReceiveError> {
    // The source may know that it has lost the VM before the VM runs here.
    sleep(STARTS).await;
    let (side, remark) = watched.end(zero_ns(finish.begun_unix_s)).await;
    finished.probes = side.map(Box::new);
    finished.remarks.extend(remark.map(Text::from));
    // The source may be gone by now: that changes nothing.
    let told = match sender.send(&Message::Finished(finished.clone())).await {
        Ok(()) => sender.close().await,
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        log::info!("the source did not wait for the last word: {error}");
    }
    Ok(Outcome { migration: Text::default(), finish, finished, refused: None })
}
