//! How long nobody was served, from the ticks of the guest.

use std::time::{Duration, Instant};

use crate::protocol::Tick;

/// The longest silence around a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interruption {
    /// Between two ticks as they arrived at the hosts: what a client sees.
    pub received: Duration,
    /// Between two ticks by the guest's own clock, which an accelerator may stop with the VM.
    pub by_guest: Duration,
}

impl Interruption {
    /// Looks at the ticks from the last before `from` until `until`; `None` where there are fewer than two.
    #[must_use]
    pub fn between(ticks: &[(Instant, Tick)], from: Instant, until: Instant) -> Option<Self> {
        // A silence that begins at `from` begins with a tick before it.
        let first = ticks.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        let mut within: Vec<_> =
            ticks[first..].iter().filter(|(at, _)| *at <= until).copied().collect();
        // The last of the source and the first of the destination come by two sockets.
        within.sort_by_key(|(_, tick)| tick.number);
        within
            .windows(2)
            .map(|pair| Self {
                received: pair[1].0.saturating_duration_since(pair[0].0),
                by_guest: Duration::from_nanos(
                    pair[1].1.guest_ns.saturating_sub(pair[0].1.guest_ns),
                ),
            })
            .reduce(|a, b| Self {
                received: a.received.max(b.received),
                by_guest: a.by_guest.max(b.by_guest),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_found() {
        let start = Instant::now();
        let tick = |number: u64, received_ms: u64, guest_ms: u64| {
            let tick = Tick { number, guest_ns: guest_ms * 1_000_000, qemu: 0 };
            (start + Duration::from_millis(received_ms), tick)
        };
        // Out of order where the sockets change.
        let ticks = [tick(0, 0, 0), tick(1, 10, 10), tick(3, 95, 30), tick(2, 90, 20)];
        let end = start + Duration::from_secs(1);
        let found = Interruption::between(&ticks, start, end).unwrap();
        assert_eq!(found.received, Duration::from_millis(80));
        assert_eq!(found.by_guest, Duration::from_millis(10));
        assert_eq!(Interruption::between(&ticks[..1], start, end), None);
        // Asked for from within the silence, it is the same one.
        let from = start + Duration::from_millis(50);
        assert_eq!(Interruption::between(&ticks, from, end).unwrap(), found);
    }
}
