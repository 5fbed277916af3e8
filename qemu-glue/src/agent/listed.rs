//! From the agent's reply about its list to the list's bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake3::Hash;
use foreign::Text;
use page_number::{Gpa, PAGE_BYTES};
use page_wire::protocol::{Copied, PageList, Pinned, Steps};
use page_wire::{Bounds, HEADER_BYTES};
use serde::Serialize;
use thiserror::Error;

use super::{AgentError, ReadRam};

/// A page list of the guest, as it was made.
#[derive(Debug)]
pub struct Listed {
    /// For [`page_wire::List::parse`].
    pub bytes: Vec<u8>,
    /// How long each step took.
    pub steps: ListSteps,
    /// How the bytes came.
    pub how: How,
    /// How the guest held the pages.
    pub pinned: Pinned,
    /// Number of database pages on it, as the agent reports.
    pub pages: u64,
    /// Process ids of the servers whose pages are on it, as the agent reports.
    pub servers: Vec<u32>,
    /// Blocks of the pools that are not on it, by reason, as the agent reports.
    pub left_out: BTreeMap<Text, u64>,
}

/// Wall-clock seconds of the steps, on two clocks of which only lengths are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ListSteps {
    /// Until the agent had a server to make a list of.
    pub waited_s: f64,
    /// In the guest, as the agent reports.
    pub guest: Steps,
    /// From the question to the whole answer, the guest's steps included.
    pub answer_s: f64,
    /// What lies between the guest's work and ours: the way of question and answer, and taking the
    /// bytes over, read in place or copied.
    pub transfer_s: f64,
    /// Hashing them, to prove them.
    pub hash_s: f64,
    /// From the question to the proven list.
    pub total_s: f64,
}

/// How the bytes came.
#[derive(Debug)]
pub enum How {
    /// Read where the guest has written them.
    InPlace,
    /// Over the port, since they could not be read there.
    Copied(NotInPlace),
}

/// Why a list was not read in place.
#[derive(Debug, Error)]
pub enum NotInPlace {
    /// The guest does not know the frames, or they are too many for a reply.
    #[error("the agent does not report where its pages lie")]
    NotGiven,
    /// The reply names more or fewer frames than the list has.
    #[error("the agent reports {given} frames for a list of {needed}")]
    Count {
        /// Frames of the reply.
        given: u64,
        /// Frames that the list fills.
        needed: u64,
    },
    /// A frame is not in the VM's RAM.
    #[error("guest frame {gfn:#x} cannot be read: {source}")]
    Ram {
        /// Its number.
        gfn: u64,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Other bytes than the agent has hashed: moved, changed, or never true.
    #[error("the frames hold other bytes than the agent has written")]
    Hash,
}

/// The agent's reply about its list, checked as far as possible before the list is read.
pub(super) struct ListReply {
    pub(super) list: PageList,
    length: usize,
    hash: Hash,
}

impl ListReply {
    /// Checks it before anything is allocated for it.
    pub(super) fn check(list: PageList, bounds: Bounds) -> Result<Self, AgentError> {
        let nonsense = |what: String| Err(AgentError::Nonsense { what: what.into() });
        if !(HEADER_BYTES as u64..=bounds.bytes()).contains(&list.length) {
            let (length, most) = (list.length, bounds.bytes());
            return nonsense(format!("a list of {length} bytes, where the VM's RAM allows {most}"));
        }
        let Ok(hash) = Hash::from_hex(list.blake3.raw()) else {
            return nonsense("the hash of the list is none".to_owned());
        };
        let Ok(length) = usize::try_from(list.length) else {
            return nonsense(format!("a list of {} bytes", list.length));
        };
        Ok(Self { list, length, hash })
    }

    /// The bytes, proven, and how long the proof took.
    pub(super) fn read_in_place(&self, ram: &impl ReadRam) -> Result<(Vec<u8>, f64), NotInPlace> {
        if self.list.runs.is_empty() {
            return Err(NotInPlace::NotGiven);
        }
        let given = self.list.runs.iter().map(|run| u64::from(run.1)).sum();
        let needed = self.list.length.div_ceil(PAGE_BYTES);
        if given != needed {
            return Err(NotInPlace::Count { given, needed });
        }
        let mut bytes = vec![0; self.length];
        let mut rest = &mut bytes[..];
        for run in &self.list.runs {
            let gfn = run.0;
            let len = usize::try_from(u64::from(run.1) * PAGE_BYTES).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at_mut(len.min(rest.len()));
            let gpa = Gpa::of_frame(gfn).ok_or_else(|| "beyond all addresses".into());
            gpa.and_then(|gpa| ram.read_ram(gpa.0, part))
                .map_err(|source| NotInPlace::Ram { gfn, source })?;
            rest = after;
        }
        self.proven(&bytes).map(|hash_s| (bytes, hash_s)).ok_or(NotInPlace::Hash)
    }

    /// The seconds that the proof took, if there is one.
    fn proven(&self, bytes: &[u8]) -> Option<f64> {
        let start = Instant::now();
        (blake3::hash(bytes) == self.hash).then(|| start.elapsed().as_secs_f64())
    }

    pub(super) fn listed(&self, bytes: Vec<u8>, how: How, start: Instant, hash_s: f64) -> Listed {
        let transfer_s = (start.elapsed().as_secs_f64() - hash_s).max(0.0);
        let steps =
            ListSteps { guest: self.list.steps, transfer_s, hash_s, ..ListSteps::default() };
        Listed {
            bytes,
            steps,
            how,
            pinned: self.list.pinned,
            pages: self.list.pages,
            servers: self.list.servers.clone(),
            left_out: self.list.left_out.clone(),
        }
    }
}

/// A list that comes in pieces. Memory grows with the bytes that have arrived, not with the length that the reply states.
pub(super) struct Copying<'a> {
    list: &'a ListReply,
    bytes: Vec<u8>,
}

impl<'a> Copying<'a> {
    pub(super) const fn of(list: &'a ListReply) -> Self {
        Self { list, bytes: Vec::new() }
    }

    /// Offset and length of the next piece, in bytes.
    pub(super) fn next(&self, most: u32) -> Option<(u64, u32)> {
        let left = self.list.length - self.bytes.len();
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(most);
        (len > 0).then_some((self.bytes.len() as u64, len))
    }

    /// Takes the piece that was requested, of `len` bytes.
    pub(super) fn take(&mut self, piece: &Copied, len: u32) -> Result<(), AgentError> {
        let nonsense = |what: &str| AgentError::Nonsense { what: what.into() };
        if piece.offset != self.bytes.len() as u64 {
            return Err(nonsense("another piece of the list than was requested"));
        }
        let data =
            STANDARD.decode(&piece.data).map_err(|_| nonsense("a piece that is no base64"))?;
        if u32::try_from(data.len()) != Ok(len) {
            return Err(nonsense("a piece of another length than was requested"));
        }
        self.bytes.extend_from_slice(&data);
        Ok(())
    }

    /// The bytes, proven, and how long the proof took.
    pub(super) fn finish(self) -> Result<(Vec<u8>, f64), AgentError> {
        let hash_s = self.list.proven(&self.bytes).ok_or(AgentError::Torn)?;
        Ok((self.bytes, hash_s))
    }
}
