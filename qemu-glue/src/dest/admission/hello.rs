//! The hello of a source: before it a connection is a stranger's.
//!
//! With a key, the hello is the first proof that the other side has it. The first message of the handshake is none: it
//! stays right when it is sent again, so a recording of one can be replayed. What follows it is encrypted with what this
//! side chose anew.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::channel::{self, Message, PeerHello, Receiver, Refused, Security, Sender, Step};
use crate::dest::controller::name_of;
use crate::dest::error::ReceiveError;

/// What handshake and hello may take together.
const GREETED: Duration = Duration::from_secs(10);

/// A source that has greeted, and waits for an answer.
pub struct NewSource {
    pub(in crate::dest) sender: Sender,
    pub(in crate::dest) receiver: Receiver,
    pub(in crate::dest) hello: PeerHello,
}

impl NewSource {
    /// Does the handshake with the source that has connected `stream`.
    ///
    /// # Errors
    /// [`ReceiveError`] when it is none, has no key, or has not greeted after 10 s.
    pub async fn accept<S>(stream: S, security: &Security) -> Result<Self, ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::accept_with_steps(stream, security, &|_| ()).await
    }

    /// [`Self::accept`], which reports each step of the handshake as soon as it is seen.
    pub(super) async fn accept_with_steps<S>(
        stream: S,
        security: &Security,
        on_step: &(dyn Fn(Step) + Sync),
    ) -> Result<Self, ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let accepted = async {
            let (sender, mut receiver) =
                channel::accept_with_steps(stream, security, on_step).await?;
            match receiver.receive().await? {
                Message::Hello(hello) => Ok(Self { sender, receiver, hello }),
                other => {
                    let (got, expected) = (name_of(&other), "a hello");
                    Err(ReceiveError::OutOfTurn { got, expected })
                }
            }
        };
        let silent = |_| ReceiveError::Silent { expected: "a hello", limit: GREETED };
        timeout(GREETED, accepted).await.map_err(silent)?
    }

    /// Sends it away. It may not receive that.
    pub(super) async fn refuse(mut self, reason: &str, hint: &str) {
        let refused = Refused { reason: reason.into(), hint: hint.into(), uri: None };
        if self.sender.send(&Message::Refused(refused)).await.is_ok() {
            let _ = self.sender.close().await;
        }
    }
}
