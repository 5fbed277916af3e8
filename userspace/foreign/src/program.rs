//! The door as a whole program needs it: its arguments, its panics, its log.

use std::io::{self, Write as _};
use std::process;

use clap::Parser;
use clap::error::ContextValue;
use env_logger::{Builder, Env};

use crate::shown::{of, shown};

/// Longest text of one record of the log, in bytes.
const RECORD_BYTES: usize = 4096;

/// Longest usage error, in bytes; help is shorter.
const USAGE_BYTES: usize = 64 << 10;

/// The arguments of this program, which panics and complains of wrong ones through the door from now on.
#[must_use]
pub fn start<Arguments: Parser>() -> Arguments {
    crate::panic::hook();
    Arguments::try_parse().unwrap_or_else(|mut error| {
        // What was typed, before it stands among lines of ours.
        let quoted = error.context().filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, shown(text).to_string())),
            _ => None,
        });
        for (kind, text) in quoted.collect::<Vec<_>>() {
            error.insert(kind, ContextValue::String(text));
        }
        let plain = error.render().to_string();
        let harmless = shown(&plain).lines().at_most(USAGE_BYTES).to_string();
        if harmless == plain {
            // Clap's own colours, and its code.
            error.exit();
        }
        let _ = io::stderr().write_all(harmless.as_bytes());
        process::exit(error.exit_code());
    })
}

/// A logger to standard error whose records are one line each. `verbose` is 0 for warnings, 1 for more, 2 for
/// all; `RUST_LOG` outranks it.
#[must_use]
pub fn logger(verbose: u8) -> Builder {
    let level = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    let mut logger = Builder::from_env(Env::default().default_filter_or(level));
    // The module's name helps developers only.
    let names_module = verbose > 1 || std::env::var_os("RUST_LOG").is_some();
    logger.format(move |out, record| {
        let (level, text) = (record.level(), of(record.args()).at_most(RECORD_BYTES));
        if !names_module {
            return writeln!(out, "[{level}] {text}");
        }
        writeln!(out, "[{level:<5} {}] {text}", of(&record.target()))
    });
    logger
}
