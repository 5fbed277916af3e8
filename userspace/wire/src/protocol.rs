//! The requests of the host and the replies of the agent, over a port of the guest.
//!
//! One JSON object a line, each of bounded length, either side ignoring empty lines:
//!
//! ```text
//! host  -> {"id":7,"hello":{"version":1}}           agent -> {"id":7,"hello":{"version":1,...}}
//!          {"id":8,"page-list":null}                          {"id":8,"page-list":{"list":3,...}}
//!          {"id":9,"copy":{"list":3,"offset":0,...}}          {"id":9,"copied":{"offset":0,...}}
//!          {"id":10,"release":{"list":3}}                     {"id":10,"released":null}
//!          {"id":11,"status":null}                            {"id":11,"status":{...}}
//!          {"id":12,"migration":{"phase":"held",...}}         {"id":12,"noted":null}
//!                                              or, to any     {"id":8,"error":{"what":...,"hint":...}}
//! ```
//! The list itself does not travel: it lies in pinned pages of the agent, and the reply has
//! its frames ([`GuestRun`]) and the hash of its bytes. Who cannot read the guest's RAM has it copied.
//!
//! A port may still hold bytes for an earlier requester: a reply counts only under the id of its
//! request, and ids are not used twice on a port in living memory.

mod bounded;
mod lines;
mod migration;
mod observed;
mod served;
mod status;

use std::collections::BTreeMap;

use foreign::Text;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use lines::{LineBuffer, LineError, from_line, to_line};
pub use migration::{Migration, Phase};
pub use observed::{Blocks, Kinds, Observed, PerSecond, Times};
pub use served::{MAX_SERVERS, Served};
pub use status::{ServerState, Status};

/// Version of these messages; both sides must have the same. Fields that one side may do without are added under the
/// same version: who does not know them reads on, and who misses them takes their defaults.
pub const VERSION: u32 = 1;
/// Longest request in bytes, its end of line included.
pub const MAX_REQUEST_BYTES: usize = 4096;
/// Longest reply in bytes, its end of line included.
pub const MAX_REPLY_BYTES: usize = 4 << 20;
/// Most runs of frames in a reply: beyond, the list is copied. (40 bytes each at most.)
pub const MAX_GUEST_RUNS: usize = 1 << 16;
/// Most bytes of one copy; two thirds of what fits a reply as base64.
pub const MAX_COPY_BYTES: u32 = 2 << 20;
/// Longest list in bytes: 32 Mi runs, for 128 GiB of pool in single frames.
pub const MAX_LIST_BYTES: u64 = 512 << 20;

/// Most reasons that are read of [`PageList::left_out`]; there are some thirty.
pub const MAX_REASONS: usize = 64;

/// A request of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRequest {
    /// Comes back with the reply.
    pub id: u64,
    /// The request.
    #[serde(flatten)]
    pub body: RequestBody,
}

/// A request of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestBody {
    /// Who is there?
    Hello {
        /// [`VERSION`] of the host.
        version: u32,
    },
    /// Make a list and hold it still. The one before is released.
    PageList,
    /// Bytes of the list, where the host cannot read them in place.
    Copy {
        /// Number of the list.
        list: u64,
        /// Where to begin, in bytes.
        offset: u64,
        /// How many bytes, at most [`MAX_COPY_BYTES`].
        len: u32,
    },
    /// The list has been read.
    Release {
        /// Number of the list.
        list: u64,
    },
    /// How are the server and its pool?
    Status,
    /// How the migration goes, for people in the guest.
    Migration(Migration),
}

/// A reply of the agent. Reading one allocates no more than its contents, and a few bytes for each byte
/// of the line, whatever that has (`bounded.rs`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentReply {
    /// Id of the request; 0 where that could not be read.
    pub id: u64,
    /// The reply.
    #[serde(flatten)]
    pub body: ReplyBody,
}

/// The contents of a reply.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyBody {
    /// To [`RequestBody::Hello`].
    Hello(Hello),
    /// To [`RequestBody::PageList`].
    PageList(Box<PageList>),
    /// To [`RequestBody::Copy`].
    Copied(Copied),
    /// To [`RequestBody::Release`].
    Released,
    /// To [`RequestBody::Status`].
    Status(Box<Status>),
    /// To [`RequestBody::Migration`].
    Noted,
    /// To any: it could not be done.
    Error(Trouble),
}

impl ReplyBody {
    /// Name of the kind, for errors.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::PageList(_) => "page-list",
            Self::Copied(_) => "copied",
            Self::Released => "released",
            Self::Status(_) => "status",
            Self::Noted => "noted",
            Self::Error(_) => "error",
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// Version of `poolferry`.
    pub program: Text,
    /// Process id of the agent, in the guest.
    pub pid: u32,
    /// The guest's kernel (`uname -r`).
    pub kernel: Text,
    /// Whether there is a server to make a list of; of several, the first.
    pub server: ServerState,
    /// All servers that have probes; none from an agent that knows of one only.
    #[serde(default, deserialize_with = "served::few", skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Served>,
}

/// Why there is no answer but this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What failed, and why.
    pub what: Text,
    /// What the operator can do about it, in the guest.
    pub hint: Option<Text>,
    /// Whether that is about to pass by itself: the same question may be answered in a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl Trouble {
    /// Trouble that does not pass by itself.
    #[must_use]
    pub fn new(what: impl Into<Text>, hint: Option<Text>) -> Self {
        Self { what: what.into(), hint, again: false }
    }

    /// Trouble that is about to pass.
    #[must_use]
    pub fn passing(what: impl Into<Text>) -> Self {
        let hint = Some("ask again in a few seconds".into());
        Self { what: what.into(), hint, again: true }
    }
}

/// Guest frames that follow each other: number of the first (guest-physical address by 4096), and how
/// many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRun(pub u64, pub u32);

/// A list that the agent holds still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageList {
    /// Its number, for [`RequestBody::Copy`] and [`RequestBody::Release`].
    pub list: u64,
    /// Its length in bytes.
    pub length: u64,
    /// BLAKE3 of its bytes, lowercase hexadecimal.
    pub blake3: Text,
    /// Where its pages lie, in the order of its bytes, the last page in part only. Empty where they
    /// are not known, or more than [`MAX_GUEST_RUNS`]: the list must be copied.
    #[serde(deserialize_with = "bounded::runs")]
    pub runs: Vec<GuestRun>,
    /// How its pages are held.
    pub pinned: Pinned,
    /// Seconds that the agent holds them, unless released before.
    pub held_s: u64,
    /// Number of database pages on it.
    pub pages: u64,
    /// Process ids of the servers whose pages are on it; none from an agent that knows of one only.
    #[serde(default, deserialize_with = "served::few", skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<u32>,
    /// Blocks of the pools that are not on it, by reason; [`MAX_REASONS`] of them.
    #[serde(deserialize_with = "few")]
    pub left_out: BTreeMap<Text, u64>,
    /// How long each step took in the guest.
    pub steps: Steps,
}

/// How the list's pages are kept from moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinned {
    /// A long-term pin: the kernel moves them for nobody.
    LongTerm,
    /// Locked only: compaction may still move them, and the hash then shows it.
    Locked,
    /// Not even locked.
    No,
}

/// Wall-clock seconds of the steps of a list in the guest; scan and translate run side by side. Lists of several
/// servers are made side by side too: up to `merge_s`, the longest of each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// Writing out what the server wrote through the page cache (`syncfs`).
    pub sync_s: f64,
    /// Looking at the server's files.
    pub refresh_s: f64,
    /// Reading and judging descriptors, and sorting what is left.
    pub scan_s: f64,
    /// Virtual addresses to frames.
    pub translate_s: f64,
    /// Pages to disk, and sorting.
    pub locate_s: f64,
    /// Making and merging runs, to count them.
    pub merge_s: f64,
    /// Getting and pinning the pages that the list is written to.
    pub pin_s: f64,
    /// Writing the list into them.
    pub encode_s: f64,
    /// Hashing it.
    pub hash_s: f64,
    /// Finding its own frames.
    pub frames_s: f64,
    /// From the question to the answer.
    pub total_s: f64,
}

/// A piece of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes in base64 (RFC 4648, section 4).
    pub data: String,
}

/// The first [`MAX_REASONS`] of a map; the others are passed over.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Text, u64>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = BTreeMap<Text, u64>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("counts by reason")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((reason, count)) = map.next_entry()? {
                if found.len() < MAX_REASONS {
                    found.insert(reason, count);
                }
            }
            Ok(found)
        }
    }
    deserializer.deserialize_map(Few)
}

#[cfg(test)]
mod tests;
