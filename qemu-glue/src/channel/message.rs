//! The messages between the hosts.

use foreign::{Name, Text};
use page_number::PAGE_BYTES;
use serde::{Deserialize, Serialize};

use super::length::{MAX_NAMES, MAX_WARNINGS};
use crate::multifd::Multifd;
use crate::set::{Block, SetRun};
use migration_record::Side;
use migration_record::bounded;

/// Version of the channel's messages; both sides must have the same.
pub const VERSION: u32 = 4;
/// Most devices of an offer, that of zero pages among them. Their names come from the guest, and all of
/// them have to fit into a frame.
pub const MAX_DEVICES: usize = 64;
/// Longest name of a device in bytes: that of a path in sysfs behind some bridges.
pub const MAX_DEVICE_BYTES: usize = 256;
/// Most devices that are read of an offer: one more than there may be, to be refused.
const DEVICES_READ: usize = MAX_DEVICES + 1;

/// Pages `first`, `first + 1`, ... of the set, `count` of them. (Pages of RAM are a [`RamRange`](page_number::RamRange).)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRange {
    /// Number of the first page.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
}

/// First word of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello {
    /// [`VERSION`].
    pub version: u32,
    /// Version of `poolferry-host`.
    pub program: Text,
    /// Version of the QEMU beside it, `major.minor.micro`.
    pub qemu: Text,
    /// Names the migration in the reports of both sides.
    pub migration: Text,
}

/// What the source wants to skip; the runs follow in [`Message::Runs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// RAM blocks that runs name by index.
    #[serde(deserialize_with = "bounded::first::<MAX_NAMES, _, _>")]
    pub blocks: Vec<Block>,
    /// Devices that runs name by index, as the guest's list names them: at most [`MAX_DEVICES`], each of at most
    /// [`MAX_DEVICE_BYTES`].
    #[serde(deserialize_with = "bounded::first::<DEVICES_READ, _, _>")]
    pub devices: Vec<Name>,
    /// Number of runs to come.
    pub runs: u64,
    /// Migration capabilities that the destination's QEMU must have set, and no others of the kind.
    #[serde(deserialize_with = "bounded::first::<MAX_NAMES, _, _>")]
    pub capabilities: Vec<Name>,
    /// How its `multifd` must be set, where that is among them.
    pub multifd: Option<Multifd>,
    /// Whether the source leaves to the network what storage does not come to.
    pub shares: bool,
}

/// The destination is ready: its QEMU listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// URI for `migrate` at the source (`tcp:HOST:PORT`).
    pub uri: Text,
    /// Devices that it cannot read, with the reason.
    ///
    /// N.B. The numbers of the set's pages stay as they were offered, so the source must not arm a
    /// smaller set: it re-dirties these pages once they are hinted, which costs no byte (QEMU sends
    /// them once, only later). Hashes of them are answered [`NotInstalled::ReadFailed`].
    #[serde(deserialize_with = "bounded::first::<MAX_DEVICES, _, _>")]
    pub devices_left_out: Vec<(u16, Text)>,
}

/// The destination will not restore; the migration can still be a stock one when `uri` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What failed, and why.
    pub reason: Text,
    /// What the operator can do.
    pub hint: Text,
    /// Where the destination's QEMU listens all the same.
    pub uri: Option<Text>,
}

/// Why a page was not installed and has to travel by network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotInstalled {
    /// Storage has other bytes than the source's RAM.
    Differs,
    /// Storage did not give the bytes.
    ReadFailed,
    /// The page could not be installed.
    InstallFailed,
    /// Its time had run out.
    TooLate,
}

/// How far the destination is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes read from storage.
    pub storage_bytes: u64,
    /// Pages installed by us.
    pub installed: u64,
    /// Pages where QEMU had been before us.
    pub already_present: u64,
    /// Pages not installed.
    pub not_installed: u64,
    /// Bytes of hashes waiting for storage.
    pub queued: u64,
}

impl Progress {
    /// What can be so for a set of so many pages.
    #[must_use]
    pub fn within(self, pages: u64) -> Self {
        // A page that is read for itself comes with the gap before it, at most 64 KiB.
        let storage = pages.saturating_mul(32 * PAGE_BYTES);
        Self {
            storage_bytes: self.storage_bytes.min(storage),
            installed: self.installed.min(pages),
            already_present: self.already_present.min(pages),
            not_installed: self.not_installed.min(pages),
            queued: self.queued.min(pages.saturating_mul(32)),
        }
    }
}

/// How the migration ended, as the source sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// `completed`, `failed`, `cancelled`.
    pub status: Text,
    /// Why, when it did not complete.
    pub reason: Option<Text>,
    /// Unix time of the `migrate` command in seconds, by the source's clock.
    pub begun_unix_s: f64,
}

/// Last word of the destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The totals.
    pub progress: Progress,
    /// CPU seconds of the receiver.
    pub cpu_s: f64,
    /// Highest resident memory of the receiver in bytes.
    pub peak_memory_bytes: u64,
    /// What probes on QEMU's functions saw, in seconds since the `migrate` command; the clocks of both
    /// hosts are trusted with that.
    pub probes: Option<Box<Side>>,
    /// What happened beside the path, for the report.
    #[serde(deserialize_with = "bounded::first::<MAX_WARNINGS, _, _>")]
    pub warnings: Vec<Text>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First word of either side.
    Hello(PeerHello),
    /// Source: what it wants to skip.
    Offer(Offer),
    /// Source: the next runs of the offer, in the order of the storage.
    Runs(Vec<SetRun>),
    /// Source: that was all of the offer.
    OfferEnd,
    /// Destination: ready.
    Ready(Ready),
    /// Destination: not ready.
    Refused(Refused),
    /// Source: BLAKE3 of the pages from `first` on, taken after the hint had returned (invariant I2).
    Hashes {
        /// Number of the first page.
        first: u32,
        /// 32 bytes a page.
        hashes: Vec<[u8; 32]>,
    },
    /// Source: these pages are re-dirtied, so QEMU sends them.
    Redirtied(Vec<SetRange>),
    /// Destination: these are accounted for, installed by us or delivered by QEMU.
    Installed(Vec<SetRange>),
    /// Destination: these were not installed.
    NotInstalled(NotInstalled, Vec<SetRange>),
    /// Destination: how far it is.
    Progress(Progress),
    /// Source: the end.
    Finish(Finish),
    /// Destination: the end.
    Finished(Finished),
}

impl Message {
    /// Bytes of memory that it takes while it waits, about.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Runs(runs) => size_of_val(&**runs),
            Self::Hashes { hashes, .. } => size_of_val(&**hashes),
            Self::Redirtied(ranges) | Self::Installed(ranges) | Self::NotInstalled(_, ranges) => {
                size_of_val(&**ranges)
            }
            Self::OfferEnd | Self::Progress(_) => size_of::<Self>(),
            // Each comes once. What a frame can hold of texts, and the lists that clipping leaves.
            Self::Hello(_)
            | Self::Offer(_)
            | Self::Ready(_)
            | Self::Refused(_)
            | Self::Finish(_)
            | Self::Finished(_) => 1 << 20,
        }
    }
}
