//! The destination: restores the set from storage beside a QEMU that waits for its migration.
//!
//! ```text
//! greeting -> the slot -> QEMU's monitor -> offer -> preflight -> media -> holes -> userfaultfd -> QEMU listens -> Ready
//! Hashes -> read storage in its order -> BLAKE3 equal? -> UFFDIO_COPY where nothing has arrived
//!        -> Placed | NotPlaced
//! ```
//! # Invariants
//! - A page is answered `Placed` only when it is present: installed with the source's bytes, or
//!   delivered by QEMU (I3). Everything else is answered `NotPlaced` with the reason, or not at all,
//!   and the source gives it back (I1).
//! - The pages of the set are holes when QEMU begins to listen; nothing is punched after that, nor for a
//!   later source: QEMU listens once, and one that was told to is never prepared again (`begun.rs`).
//! - A page's hash is taken once.
//! - When [`receive`] returns, nothing is installed any more.
//!
//! # Errors
//! What keeps this host from restoring is a [`Refusal`]: it goes to the source with QEMU's address, and
//! the migration is a stock one. A [`ReceiveError`] ends the channel, and the source gives back.

mod admission;
mod answers;
mod begun;
mod buffers;
mod error;
mod event;
mod examine;
mod feed;
mod greeting;
mod holes;
mod incoming;
mod install;
mod limits;
mod liveness;
mod media;
mod medium;
mod memory;
mod offer;
mod options;
mod preflight;
mod prepare;
mod prove;
mod queue;
mod rare;
mod refusal;
mod restore;
mod serve;
mod tally;
mod thp;
mod uffd;

use foreign::Text;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::admission::{Admission, Admitted};
pub use self::error::ReceiveError;
pub use self::event::{Event, Observer, Outcome};
pub(crate) use self::examine::examine;
pub use self::greeting::Greeting;
pub use self::install::{BlockFile, Placed, Target};
pub use self::limits::Limits;
use self::liveness::Liveness;
pub use self::media::Override;
pub(crate) use self::media::{called, examine as examine_disks};
pub use self::options::{Options, SILENCE};
use self::prepare::Qemu;
pub use self::prove::{Answer, Fate};
pub use self::queue::{Hash, QueueError};
pub use self::rare::Rare;
pub use self::refusal::Refusal;
pub use self::restore::Restore;
use crate::channel::{Hello, Message, Refused, Sender, VERSION};
use crate::timeline::Watched;
use crate::{error_chain, usage};

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
    let greeting = Greeting::hear(stream, &options.security).await?;
    serve(greeting, options, observer).await
}

/// [`receive`] for a source that was let in.
///
/// # Errors
/// As [`receive`].
pub async fn receive_admitted(
    admitted: Admitted,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let (greeting, _slot) = admitted.into_parts();
    serve(greeting, options, observer).await
}

async fn serve(
    greeting: Greeting,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let begun = usage::cpu_s();
    let Greeting { mut sender, mut receiver, hello } = greeting;
    let qemu = Qemu::connect(&options.qmp).await;
    let migration = greet(&mut sender, hello, &qemu).await?;
    let pages = qemu.as_ref().map_or(0, Qemu::pages);
    let (offer, set) = offer::receive(&mut receiver, pages).await?;
    observer(&Event::Connected { migration: migration.clone() });
    let watched = match (options.probes, &qemu) {
        (true, Ok(qemu)) => Watched::begin(qemu.pid()),
        _ => Watched::Not,
    };
    let prepared = prepare::prepare(qemu, &offer, set, options).await;
    let liveness = Liveness::new(&options.qmp, options.silence);
    let mut outcome = match prepared {
        Ok((prepared, ready)) => {
            observer(&Event::ready(&ready, &prepared.set));
            sender.send(&Message::Ready(ready)).await?;
            let limits = options.limits.sized(prepared.set.bytes_on_storage());
            let limits = if offer.shares { limits.shared() } else { limits };
            let channel = (sender, receiver);
            serve::restore(prepared, channel, limits, liveness, watched, observer).await?
        }
        Err((refusal, uri)) => {
            let refused = refused(&refusal, uri);
            observer(&Event::Refused {
                reason: refused.reason.clone(),
                hint: refused.hint.clone(),
            });
            sender.send(&Message::Refused(refused)).await?;
            serve::stand_by((sender, receiver), refusal, liveness, watched).await?
        }
    };
    outcome.migration = migration;
    outcome.finished.cpu_s = usage::cpu_s() - begun;
    observer(&Event::Finished { outcome: outcome.clone() });
    Ok(outcome)
}

/// Answers the first words; gives the migration's name.
async fn greet(
    sender: &mut Sender,
    theirs: Hello,
    qemu: &Result<Qemu, Refusal>,
) -> Result<Text, ReceiveError> {
    let hello = Hello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        qemu: qemu.as_ref().map_or_else(|_| Text::default(), |qemu| qemu.version().into()),
        migration: theirs.migration.clone(),
    };
    sender.send(&Message::Hello(hello)).await?;
    if theirs.version != VERSION {
        return Err(ReceiveError::Version { theirs: theirs.version });
    }
    Ok(theirs.migration)
}

fn refused(refusal: &Refusal, uri: Option<String>) -> Refused {
    Refused {
        reason: error_chain(refusal).into(),
        hint: refusal.hint().into(),
        uri: uri.map(Text::from),
    }
}

#[cfg(test)]
mod hostile_sessions;
