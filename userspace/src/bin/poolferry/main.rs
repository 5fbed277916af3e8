//! `poolferry`: observes a running, unmodified mysqld.
mod agent;
mod doctor;
mod failure;
mod pages;
mod server_args;
mod symbols;
mod trace;

use ::symbols::isolated;
use clap::{Parser, Subcommand};
use failure::Failure;

/// Observes the buffer pool of a running, unmodified mysqld with eBPF.
#[derive(Parser)]
#[command(name = "poolferry", version, about, max_term_width = 100)]
struct Cli {
    /// Log more to standard error; twice for the log of the eBPF programs.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a server's buffer pool live.
    Trace(trace::Args),
    /// List a server's pages: frames, extents, eligible or why not.
    Pages(pages::Args),
    /// Answer the migrating host over a virtio-serial port: page lists and figures.
    Agent(agent::Args),
    /// Show what is known about a server binary: probe sites, fields, globals.
    Symbols(symbols::Args),
    /// Check whether this machine can be observed, with a remedy for each finding.
    Doctor(doctor::Args),
}

fn main() {
    // Before anything else, as that process has one thread, one socket and no rights.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == isolated::COMMAND) {
        std::process::exit(i32::from(!isolated::serve()));
    }
    probe_loader::start(userspace::probes::OBJECT);
    let cli: Cli = foreign::start();
    outlet::take_panics();
    outlet::exit(i32::from(!run(cli)))
}

/// Runs the command; whether it went well.
fn run(cli: Cli) -> bool {
    let done = match cli.command {
        Command::Trace(args) => trace::run(&args, cli.verbose),
        Command::Agent(args) => agent::run(&args, cli.verbose),
        Command::Pages(args) => {
            failure::log_to_stderr(cli.verbose);
            pages::run(&args)
        }
        Command::Symbols(args) => {
            failure::log_to_stderr(cli.verbose);
            symbols::run(&args)
        }
        Command::Doctor(args) => return doctor::run(&args),
    };
    match done {
        Ok(()) | Err(Failure::BrokenPipe) => true,
        Err(failure) => {
            failure.report();
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use clap::CommandFactory as _;

    use super::*;

    fn refused(line: &str) -> String {
        let parsed = Cli::try_parse_from(line.split(' '));
        parsed.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_version_names_the_program() {
        assert!(Cli::command().render_version().starts_with("poolferry "));
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused_at_the_start() {
        for option in ["--profiles", "--debug-dir"] {
            let message = refused(&format!("poolferry pages {option} /nosuch"));
            assert!(
                message.contains("/nosuch") && message.contains("name a folder that exists"),
                "{message}"
            );
            let message = refused(&format!("poolferry pages {option} /proc/self/stat"));
            assert!(message.contains("it is no folder"), "{message}");
            assert_eq!(refused(&format!("poolferry pages {option} /proc")), "");
            let odd =
                tempfile::Builder::new().prefix(OsStr::from_bytes(b"\xff")).tempdir().unwrap();
            let words = ["poolferry", "pages", option].map(OsStr::new).into_iter();
            assert!(Cli::try_parse_from(words.chain([odd.path().as_os_str()])).is_ok());
        }
    }

    #[test]
    fn an_address_without_a_port_is_told_what_to_write() {
        let message = refused("poolferry trace --metrics 9464");
        assert!(message.contains("e.g. 127.0.0.1:9464"), "{message}");
        let message = refused("poolferry trace --link-rate fast");
        assert!(message.contains("e.g. `1gbit`"), "{message}");
    }

    #[test]
    fn a_ring_that_is_too_small_or_too_large_is_refused() {
        for ring in ["5", "4095", "4294967295"] {
            let message = refused(&format!("poolferry trace --ring {ring}"));
            assert!(message.contains("4096"), "{message}");
        }
        assert_eq!(refused("poolferry trace --ring 4096"), "");
    }
}
