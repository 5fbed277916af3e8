//! Panics, whose messages may quote what is foreign.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::thread;

use crate::shown::{of, shown};

/// From now on panics are logged through this door, on one line each. `RUST_BACKTRACE` works as ever.
pub(crate) fn hook() {
    // Standard error may be closed; there is nowhere left to report it.
    hook_to(|text| {
        let _ = io::stderr().write_all(text.as_bytes());
    });
}

/// The same, with whole lines given to `write`.
pub fn hook_to(write: fn(&str)) {
    panic::set_hook(Box::new(move |info| {
        let mut text = format!("{}\n", describe(info));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{}\n", of(&backtrace).lines().at_most(1 << 20)));
        }
        write(&text);
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    format!("thread '{}' panicked at {place}: {}", thread.name().unwrap_or("?"), shown(message))
}
