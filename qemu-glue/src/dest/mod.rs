//! The destination: restores the set from storage beside a QEMU that waits for its migration.
//!
//! ```text
//! greet -> offer -> preflight -> media -> holes -> userfaultfd -> QEMU listens -> Ready
//! Hashes -> read storage in its order -> BLAKE3 equal? -> UFFDIO_COPY where nothing has arrived
//!        -> Placed | NotPlaced
//! ```
//! # Invariants
//! - A page is answered `Placed` only when it is present: installed with the source's bytes, or
//!   delivered by QEMU (I3). Everything else is answered `NotPlaced` with the reason, or not at all,
//!   and the source gives it back (I1).
//! - The pages of the set are holes when QEMU begins to listen; nothing is punched after that.
//! - A page's hash is taken once.
//! - When [`receive`] returns, nothing is installed any more.
//!
//! # Errors
//! What keeps this host from restoring is a [`Refusal`]: it goes to the source with QEMU's address, and
//! the migration is a stock one. A [`ReceiveError`] ends the channel, and the source gives back.

mod answers;
mod error;
mod event;
mod holes;
mod incoming;
mod install;
mod media;
mod memory;
mod offer;
mod preflight;
mod prepare;
mod prove;
mod queue;
mod restore;
mod tally;
mod thp;
mod uffd;

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval};

pub use self::error::{ReceiveError, Refusal};
pub use self::event::{Event, Observer, Outcome};
pub use self::incoming::{MigrationAddress, MigrationAddressError};
pub use self::install::{BlockFile, Placed, Target};
pub use self::media::Override;
use self::prepare::{Prepared, Qemu};
pub use self::prove::{Answer, Fate};
pub use self::queue::{Hash, QueueError};
pub use self::restore::{Limits, Restore};
use crate::channel::{
    self, ChannelError, Finish, Finished, Hello, Message, Receiver, Refused, Security, Sender,
    VERSION,
};

/// How often the observer is told of progress.
const TOLD: Duration = Duration::from_millis(200);

/// What to receive with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Socket of the monitor of a QEMU that was started with `-incoming defer`.
    pub qmp: PathBuf,
    /// Where QEMU is to listen.
    pub migration_address: MigrationAddress,
    /// How the channel is protected.
    pub security: Security,
    /// Storage of media, before what QEMU's own disks are.
    pub disks: Vec<Override>,
    /// How much the restore may use.
    pub limits: Limits,
}

/// Serves the migration of the source that has connected `stream`.
///
/// # Errors
/// [`ReceiveError`] when the channel ends before the source has said how the migration ended.
pub async fn receive<S>(
    stream: S,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let begun = memory::cpu_s();
    let (mut sender, mut receiver) = channel::accept(stream, &options.security).await?;
    let qemu = Qemu::connect(&options.qmp).await;
    let migration = greet(&mut sender, &mut receiver, &qemu).await?;
    observer(&Event::Connected { migration: migration.clone() });
    let pages = qemu.as_ref().map_or(0, Qemu::pages);
    let (offer, set) = offer::receive(&mut receiver, pages).await?;
    let mut outcome = match prepare::prepare(qemu, &offer, set, options).await {
        Ok((prepared, ready)) => {
            observer(&Event::ready(&ready, &prepared.set));
            sender.send(&Message::Ready(ready)).await?;
            restore(prepared, sender, receiver, options.limits, observer).await?
        }
        Err((refusal, uri)) => {
            let refused = refused(&refusal, uri);
            observer(&Event::Refused {
                reason: refused.reason.clone(),
                hint: refused.hint.clone(),
            });
            sender.send(&Message::Refused(refused)).await?;
            stand_by(sender, receiver, refusal).await?
        }
    };
    outcome.migration = migration;
    outcome.finished.cpu_s = memory::cpu_s() - begun;
    observer(&Event::Finished { outcome: outcome.clone() });
    Ok(outcome)
}

/// Exchanges the first words; gives the migration's name.
async fn greet(
    sender: &mut Sender,
    receiver: &mut Receiver,
    qemu: &Result<Qemu, Refusal>,
) -> Result<String, ReceiveError> {
    let theirs = match offer::next(receiver, "a greeting").await? {
        Message::Hello(hello) => hello,
        other => {
            return Err(ReceiveError::OutOfTurn { got: name_of(&other), expected: "a greeting" });
        }
    };
    let hello = Hello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        qemu: qemu.as_ref().map_or_else(|_| String::new(), Qemu::version),
        migration: theirs.migration.clone(),
    };
    sender.send(&Message::Hello(hello)).await?;
    if theirs.version != VERSION {
        return Err(ReceiveError::Version { theirs: theirs.version });
    }
    Ok(theirs.migration)
}

/// Restores until the source says how the migration ended.
async fn restore(
    prepared: Prepared,
    sender: Sender,
    mut receiver: Receiver,
    limits: Limits,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let Prepared { set, media, target } = prepared;
    let (restore, answers) = Restore::start(set, media, target, limits);
    let (queue, tally) = (restore.queue(), restore.tally());
    let sending = tokio::spawn(answers::send(sender, answers, queue, tally.clone()));
    let mut peak_memory_bytes = memory::own();
    let followed = follow(&restore, &mut receiver, &mut peak_memory_bytes, observer).await;
    let progress = restore.progress();
    restore.stop().await;
    let finish = followed?;
    let lost = |_| ChannelError::Closed;
    let sender = sending.await.map_err(lost)??;
    let remarks = tally.remarks();
    let finished = Finished { progress, cpu_s: memory::cpu_s(), peak_memory_bytes, remarks };
    end(sender, finish, finished).await
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
                *peak_memory_bytes = memory::own().max(*peak_memory_bytes);
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
async fn stand_by(
    sender: Sender,
    mut receiver: Receiver,
    refusal: Refusal,
) -> Result<Outcome, ReceiveError> {
    let finish = loop {
        // Whatever the source still says, it knows that nothing comes of it.
        if let Message::Finish(finish) = receiver.receive().await? {
            break finish;
        }
    };
    let finished = Finished {
        remarks: vec![error_chain(&refusal)],
        peak_memory_bytes: memory::own(),
        ..Finished::default()
    };
    let outcome = end(sender, finish, finished).await?;
    Ok(Outcome { refused: Some(error_chain(&refusal)), ..outcome })
}

/// The last word.
async fn end(
    mut sender: Sender,
    finish: Finish,
    finished: Finished,
) -> Result<Outcome, ReceiveError> {
    // The source may be gone by now: that changes nothing.
    let told = match sender.send(&Message::Finished(finished.clone())).await {
        Ok(()) => sender.close().await,
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        log::info!("the source did not wait for the last word: {error}");
    }
    Ok(Outcome { migration: String::new(), finish, finished, refused: None })
}

fn refused(refusal: &Refusal, uri: Option<String>) -> Refused {
    Refused { reason: error_chain(refusal), hint: refusal.hint().to_owned(), uri }
}

/// An error with its causes on one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A message's name for errors.
const fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "a greeting",
        Message::Offer(_) => "an offer",
        Message::Runs(_) => "runs",
        Message::OfferEnd => "the end of an offer",
        Message::Ready(_) => "`ready`",
        Message::Refused(_) => "a refusal",
        Message::Hashes { .. } => "hashes",
        Message::Taken(_) => "`taken`",
        Message::Placed(_) => "`placed`",
        Message::NotPlaced(..) => "`not placed`",
        Message::Progress(_) => "progress",
        Message::Finish(_) => "the end",
        Message::Finished(_) => "its last word",
    }
}
