//! `cargo xtask cache`: what is kept of fetched servers and prepared data, and its removal.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use test_servers::cache::Cache;
use test_servers::kept::Kept;
use test_servers::room::gib;

/// What nothing has asked for in so long is called unused.
const UNUSED: Duration = Duration::from_hours(7 * 24);

/// Options of `cache`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Remove what is of this kind; all of it is made or fetched again when it is wanted
    #[arg(long, value_name = "KIND")]
    remove: Option<Kind>,
}

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// What nothing has asked for in a week, and what is half made
    Unused,
    /// Data directories and databases: filled again in minutes, without a registry
    Data,
    /// Everything
    All,
}

impl Kind {
    fn has(self, entry: &Kept, now: SystemTime) -> bool {
        match self {
            Self::Unused => entry.is_part || age(entry, now) > UNUSED,
            Self::Data => entry.is_data(),
            Self::All => true,
        }
    }
}

/// Lists the entries, or those that it removes.
pub(crate) fn perform(arguments: &Arguments) -> Result<ExitCode> {
    let (cache, now) = (Cache::open()?, SystemTime::now());
    let mut entries = cache.kept()?;
    if let Some(kind) = arguments.remove {
        entries.retain(|entry| kind.has(entry, now));
    }
    let mut refused = Vec::new();
    if arguments.remove.is_some() {
        entries.retain(|entry| match cache.remove(entry) {
            Ok(()) => true,
            Err(error) => {
                refused.push(format!("{}: {error:#}", entry.name));
                false
            }
        });
    }
    for entry in &entries {
        let days = age(entry, now).as_secs() / (24 * 60 * 60);
        println!("{:>10}  {:40} used {days} days ago", gib(entry.bytes), entry.name);
    }
    let sum = gib(entries.iter().map(|entry| entry.bytes).sum());
    let root = cache.root().display();
    match arguments.remove {
        Some(_) => println!("{sum:>10}  removed from {root}"),
        None => println!("{sum:>10}  in {root}"),
    }
    for text in &refused {
        eprintln!("not removed: {text}");
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long nothing has asked for it.
fn age(entry: &Kept, now: SystemTime) -> Duration {
    now.duration_since(entry.used).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_the_kind_is_removed() {
        let now = SystemTime::now();
        let entry = |name: &str, days: u64, is_part| Kept {
            name: name.to_owned(),
            bytes: 1,
            used: now - Duration::from_hours(24 * days),
            is_part,
        };
        let entries = [
            entry("mariadb", 0, false),
            entry("lab-data/mysql56-4x1000", 0, false),
            entry("datadirs/mariadb-1", 8, false),
            entry("qemu-10.0.part", 0, true),
        ];
        let chosen = |kind: Kind| entries.each_ref().map(|entry| kind.has(entry, now));
        assert_eq!(chosen(Kind::Unused), [false, false, true, true]);
        assert_eq!(chosen(Kind::Data), [false, true, true, false]);
        assert_eq!(chosen(Kind::All), [true; 4]);
    }
}
