//! An outlet for a task that may wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::queue::Outlet;

impl Outlet {
    /// A stream of which nothing is dropped: who writes to it waits for room.
    #[must_use]
    pub const fn sink(&'static self) -> Sink {
        Sink(self)
    }
}

/// Takes whole pieces while there is any room; who writes waits else. Flushing waits until all is written.
///
/// It queues one piece more than there is room for, so a record that is written in one piece is never cut
/// where its task ends.
#[derive(Clone, Copy, Debug)]
pub struct Sink(&'static Outlet);

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_take(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_drained(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_drained(context)
    }
}
