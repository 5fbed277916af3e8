//! How much the restore may use.

use std::ops::RangeInclusive;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::storage;

/// All buffers together are so small a part of what storage is to bring, but no less and no more than [`BUFFER_BYTES`].
const BUFFER_PART: u64 = 400;
const BUFFER_BYTES: RangeInclusive<u64> = 1 << 20..=32 << 20;
/// A request's share of them, so that storage, verification and installation all have some.
const SHARES: u64 = 8;
/// The smallest request worth its round trip.
const SMALLEST_REQUEST: u64 = 128 << 10;

/// How much the restore may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests to storage.
    pub requests: storage::RequestLimits,
    /// Requests in flight or being verified.
    pub buffers: usize,
    /// How long storage may answer nothing while requests wait.
    pub patience: Duration,
    /// How long pages wait that were not requested yet; see [`Limits::shared`].
    pub waits: Duration,
    /// Threads that hash, compare and install.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let requests = storage::RequestLimits { request_bytes: 1 << 20, gap_bytes: 64 << 10 };
        let workers = available_parallelism().map_or(1, usize::from).min(8);
        Self {
            requests,
            buffers: 32,
            patience: Duration::from_secs(5),
            waits: Duration::ZERO,
            workers,
        }
    }
}

impl Limits {
    /// For a source that leaves to the network what storage does not come to: pages need not be re-dirtied
    /// at once when storage stalls, as it may go on, and QEMU gets them in slices until then.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { waits: Duration::from_secs(120), ..self }
    }

    /// For pages of so many bytes in all: memory beside a small pool stays small, and what a gigabit or ten
    /// of them have on their way fits in.
    #[must_use]
    pub fn sized(self, bytes: u64) -> Self {
        let room = (bytes / BUFFER_PART).clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
        let request = (room / SHARES).max(SMALLEST_REQUEST).min(self.requests.request_bytes);
        // A power of two, as `ilog2` of 0 is none: a request is never empty.
        let request_bytes = 1 << request.max(2 * storage::ALIGN).ilog2();
        let buffers = usize::try_from(room / request_bytes).unwrap_or(usize::MAX);
        let requests = storage::RequestLimits { request_bytes, ..self.requests };
        Self { requests, buffers: buffers.min(self.buffers), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_a_small_part_of_the_set() {
        let sized = |bytes: u64| {
            let limits = Limits::default().sized(bytes);
            (limits.requests.request_bytes >> 10, limits.buffers)
        };
        assert_eq!(sized(0), (128, 8), "1 MiB at least");
        assert_eq!(sized(1 << 30), (256, 10));
        assert_eq!(sized((1 << 30) + (200 << 20)), (256, 12));
        assert_eq!(sized(4 << 30), (1024, 10));
        assert_eq!(sized(100 << 30), (1024, 32), "32 MiB at most");
        let few = Limits { buffers: 2, ..Limits::default() }.sized(1 << 30);
        assert_eq!(few.buffers, 2, "never more than was allowed");
    }
}
