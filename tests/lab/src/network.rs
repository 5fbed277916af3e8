//! Two hosts and a storage server as network namespaces, a link for migrations and one for storage.
//!
//! ```text
//!         10.77.0.1 ── migration ── 10.77.0.2
//! host a                                      host b
//!         10.77.1.2 ── storage      storage ── 10.77.2.2
//!                             │    │
//!                     10.77.1.1    10.77.2.1
//!                         storage server
//! ```
//! The names inside a namespace are the same in every laboratory, and nothing of it reaches the machine's own network.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use test_servers::command;

use crate::rate::Rate;
use crate::scratch::LabFolder;

/// Device of the migration link, at both hosts.
pub const MIGRATION: &str = "migration";
/// Device of the storage link, at each host.
pub const STORAGE: &str = "storage";

/// One of the two hypervisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Where the VM starts.
    A,
    /// Where it goes first.
    B,
}

impl Host {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Name of its namespace within the laboratory.
    #[must_use]
    pub const fn site(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// Its address on the migration link.
    #[must_use]
    pub const fn migration_address(self) -> &'static str {
        match self {
            Self::A => "10.77.0.1",
            Self::B => "10.77.0.2",
        }
    }

    /// Address of the storage server on this host's storage link.
    #[must_use]
    pub const fn storage_server(self) -> &'static str {
        match self {
            Self::A => "10.77.1.1",
            Self::B => "10.77.2.1",
        }
    }

    const fn storage_address(self) -> &'static str {
        match self {
            Self::A => "10.77.1.2",
            Self::B => "10.77.2.2",
        }
    }
}

/// A link that can be slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Between the hosts.
    Migration,
    /// Between each host and the storage server.
    Storage,
}

/// The namespaces, linked. They go away with the [`LabFolder`] that names them.
#[derive(Debug)]
pub struct Network {
    hosts: [String; 2],
    storage: String,
}

impl Network {
    /// Makes namespaces and links, and shapes the links in both directions.
    ///
    /// # Errors
    /// `ip` or `tc` is missing or not allowed to.
    pub fn new(scratch: &LabFolder, migration: Rate, storage: Rate) -> Result<Self> {
        let network = Self {
            hosts: [Host::A, Host::B].map(|host| scratch.namespace(host.site())),
            storage: scratch.namespace("s"),
        };
        for space in network.hosts.iter().chain([&network.storage]) {
            ip(&["netns", "add", space])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
        }
        let [a, b] = [Host::A, Host::B].map(|host| network.of(host));
        link(
            [a, MIGRATION, Host::A.migration_address()],
            [b, MIGRATION, Host::B.migration_address()],
        )?;
        for host in [Host::A, Host::B] {
            link(
                [network.of(host), STORAGE, host.storage_address()],
                [&network.storage, &toward(host), host.storage_server()],
            )?;
        }
        network.reshape(Link::Migration, migration)?;
        network.reshape(Link::Storage, storage)?;
        Ok(network)
    }

    /// From now on a link has another rate, in both directions; what is under way on it goes on.
    ///
    /// # Errors
    /// `tc` fails.
    pub fn reshape(&self, link: Link, rate: Rate) -> Result<()> {
        for host in [Host::A, Host::B] {
            match link {
                Link::Migration => shape(self.of(host), MIGRATION, rate)?,
                Link::Storage => {
                    shape(self.of(host), STORAGE, rate)?;
                    shape(&self.storage, &toward(host), rate)?;
                }
            }
        }
        Ok(())
    }

    /// Namespace of a host.
    #[must_use]
    pub fn of(&self, host: Host) -> &str {
        match host {
            Host::A => &self.hosts[0],
            Host::B => &self.hosts[1],
        }
    }

    /// A command line that runs `program` at `host`.
    #[must_use]
    pub fn at(&self, host: Host, program: &str) -> Command {
        inside(self.of(host), program)
    }

    /// A command line that runs `program` at the storage server.
    #[must_use]
    pub fn at_storage(&self, program: &str) -> Command {
        inside(&self.storage, program)
    }

    /// Cuts the migration link, or joins it again.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn cut_migration(&self, cut: bool) -> Result<()> {
        let state = if cut { "down" } else { "up" };
        ip(&["-n", self.of(Host::A), "link", "set", MIGRATION, state])
    }
}

/// Bytes that the devices of a network namespace have carried so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried(BTreeMap<String, (u64, u64)>);

impl Carried {
    /// Reads the counters of the namespace that the process `pid` is in.
    ///
    /// # Errors
    /// The process is gone.
    pub fn now(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/net/dev");
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
        Ok(Self::parse(&text))
    }

    /// `  eth0: RECEIVED packets errs drop fifo frame compressed multicast SENT ...` (`net/core/net-procfs.c`).
    fn parse(text: &str) -> Self {
        let device = |line: &str| {
            let (name, numbers) = line.split_once(':')?;
            let mut numbers = numbers.split_whitespace().map(str::parse);
            let received = numbers.next()?.ok()?;
            let sent = numbers.nth(7)?.ok()?;
            Some((name.trim().to_owned(), (received, sent)))
        };
        Self(text.lines().filter_map(device).collect())
    }

    /// Bytes that `device` has received.
    #[must_use]
    pub fn received(&self, device: &str) -> u64 {
        self.0.get(device).map_or(0, |counters| counters.0)
    }

    /// Bytes that `device` has sent.
    #[must_use]
    pub fn sent(&self, device: &str) -> u64 {
        self.0.get(device).map_or(0, |counters| counters.1)
    }
}

/// Runs `program` in the network namespace `space`; `ip` becomes the program, so the process id is the program's.
fn inside(space: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space, program]);
    command
}

/// Joins two devices; each end is namespace, device, address.
fn link(one: [&str; 3], other: [&str; 3]) -> Result<()> {
    ip(&[
        "link", "add", one[1], "netns", one[0], "type", "veth", "peer", "name", other[1], "netns",
        other[0],
    ])?;
    for [space, device, address] in [one, other] {
        ip(&["-n", space, "address", "add", &format!("{address}/24"), "dev", device])?;
        ip(&["-n", space, "link", "set", device, "up"])?;
    }
    Ok(())
}

/// Device of the storage server on the storage link of `host`.
fn toward(host: Host) -> String {
    format!("host-{}", host.site())
}

/// Limits what `device` sends, or lets it send.
fn shape(space: &str, device: &str, rate: Rate) -> Result<()> {
    let mut command = Command::new("tc");
    command.args(["-n", space, "qdisc", "replace", "dev", device, "root"]);
    match rate.bits_per_second() {
        // What such a device has by itself.
        None => command.arg("noqueue"),
        Some(bits) => {
            // A bucket of 10 ms, so that the rate is kept with timers of 1 ms; a queue of 50 ms, as a switch has.
            // A packet of the link as it was may have 64 KiB and its headers: in a bucket smaller than that it
            // would wait for ever (`tbf_dequeue`, net/sched/sch_tbf.c).
            let burst = (bits / 8 / 100).max(128 << 10).to_string();
            let rate = format!("{bits}bit");
            command.args(["tbf", "rate", &rate, "burst", &burst, "latency", "50ms"])
        }
    };
    command::output(&mut command).map(drop)
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::output(Command::new("ip").args(arguments)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n\
             \x20   lo:       0       0    0    0    0     0          0         0        0       0    0\n\
             migration: 1234 9 0 0 0 0 0 0 56789 3 0 0 0 0 0 0\n";
        let carried = Carried::parse(text);
        assert_eq!((carried.received(MIGRATION), carried.sent(MIGRATION)), (1234, 56789));
        assert_eq!(carried.sent("none"), 0);
    }
}
