//! The destination: restores the set from storage beside a QEMU that waits for its migration.
//!
//! ```text
//! hello -> the slot -> QEMU's monitor -> offer -> preflight -> devices -> holes -> userfaultfd -> QEMU listens -> Ready
//! Hashes -> read storage in its order -> BLAKE3 equal? -> UFFDIO_COPY where nothing has arrived
//!        -> Installed | NotInstalled
//! ```
//! # Invariants
//! - A page is answered `Installed` only when it is present: installed with the source's bytes, or
//!   delivered by QEMU (I3). Everything else is answered `NotInstalled` with the reason, or not at all,
//!   and the source re-dirties it (I1).
//! - The pages of the set are holes when QEMU begins to listen; nothing is punched after that, nor for a
//!   later source: QEMU listens once, and one that had the command is never prepared again (`incoming/state.rs`).
//! - A page's hash is taken once.
//! - When [`receive`] returns, nothing is installed any more.
//!
//! # Errors
//! What keeps this host from restoring is a [`RestoreRefusal`]: it goes to the source with QEMU's address, and
//! the migration is a stock one. A [`ReceiveError`] ends the channel, and the source re-dirties.

mod admission;
mod controller;
mod devices;
mod error;
mod event;
mod incoming;
mod memory;
mod options;
mod preflight;
mod refusal;
mod restore;
mod session;

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::admission::{Admission, Admitted, NewSource, RateLimitedLog};
pub use self::controller::{Fate, Hash, QueueError, SettledPages};
pub use self::devices::Override;
pub(crate) use self::devices::{called, examine as examine_disks};
pub use self::error::ReceiveError;
pub use self::event::{Observer, Outcome, ReceiveEvent};
pub use self::memory::{BlockFile, InstallOutcome, Target};
pub use self::options::{Options, SILENCE};
pub(crate) use self::preflight::examine;
pub use self::preflight::look_ahead;
pub use self::refusal::RestoreRefusal;
pub use self::restore::{Limits, Restore};
use self::session::ReceiveSession;

/// Serves the migration of the source that has connected `stream`.
///
/// # Errors
/// [`ReceiveError`] when the channel ends before the source has sent how the migration ended.
pub async fn receive<S>(
    stream: S,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let source = NewSource::accept(stream, &options.security).await?;
    serve(source, options, observer).await
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
    let (source, _slot) = admitted.into_parts();
    serve(source, options, observer).await
}

async fn serve(
    source: NewSource,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let (mut session, qemu) = ReceiveSession::greet(source, options, observer).await?;
    let offered = session.offer().await?;
    let agreed = session.prepare(qemu, offered).await?;
    session.serve(agreed).await
}
