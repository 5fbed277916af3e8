//! A clock whose ticks the laboratory receives: its silence is the interruption of service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use lab::protocol::{GuestReply, Tick};
use rustix::time::{ClockId, clock_gettime};

use crate::port::SharedPort;

/// Ticks from a thread of its own.
pub(crate) struct Ticker {
    port: SharedPort,
    every_ms: Arc<AtomicU32>,
    runs: bool,
}

impl Ticker {
    pub(crate) fn new(port: SharedPort) -> Self {
        Self { port, every_ms: Arc::default(), runs: false }
    }

    /// Ticks every so many milliseconds from now on; 0 pauses.
    pub(crate) fn every(&mut self, every_ms: u32) -> Result<()> {
        self.every_ms.store(every_ms, Ordering::Relaxed);
        if !self.runs {
            let (port, every_ms) = (self.port.clone(), Arc::clone(&self.every_ms));
            thread::Builder::new()
                .name("ticker".to_owned())
                .spawn(move || tick(&port, &every_ms))?;
            self.runs = true;
        }
        Ok(())
    }
}

fn tick(port: &SharedPort, every_ms: &AtomicU32) {
    let mut number = 0;
    loop {
        let every = every_ms.load(Ordering::Relaxed);
        if every == 0 {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let nanoseconds = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        port.send(&GuestReply::Tick(Tick { number, guest_ns: nanoseconds, qemu: 0 }));
        number += 1;
        thread::sleep(Duration::from_millis(u64::from(every)));
    }
}
