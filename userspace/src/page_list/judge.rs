//! Whether a block's page may be left out: the descriptor's word, the probes' word, the tablespace's.

use std::collections::HashMap;

use probe_abi::state;
use serde::{Serialize, Serializer};
use symbols::profile::PageState;

use crate::layout::{Layout, SpaceLayout};
use crate::locate::NotOnDisk;
use crate::memory::{Memory, ServerAddr};
use crate::residency::Residency;
use crate::scan::{Block, Verdict};
use crate::server::Server;

/// State of a block as the list names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// On the free list.
    Free,
    /// In use for something that is not a page of a file.
    Memory,
    /// Leaving the pool.
    Evicting,
    /// Compressed only: no frame.
    NoFrame,
    /// A page without unwritten changes.
    Clean,
    /// A page with unwritten changes.
    Dirty,
    /// A page being read or written.
    Io,
    /// The profile does not know its state word.
    Unknown,
}

impl State {
    /// Name in the output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Memory => "memory",
            Self::Evicting => "evicting",
            Self::NoFrame => "no-frame",
            Self::Clean => "clean",
            Self::Dirty => "dirty",
            Self::Io => "io",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a block is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason<'a> {
    /// It holds no page; the state says what it holds.
    State(State),
    /// The clean rule's word for the condition that failed.
    Rule(&'a str),
    /// Its frame is not where the chunk puts it.
    FrameElsewhere,
    /// Taken off the flush list without a write (DROP, an aborted load): its bytes are on no disk.
    Detached,
    /// The probes know another page, or none, in this block: an event is in flight.
    Unsettled,
    /// Its tablespace was dropped, truncated or replaced.
    Stale,
    /// A frame is not mapped or has no known number.
    FrameAbsent,
    /// It has no usable place on disk.
    NotOnDisk(NotOnDisk),
    /// A number does not fit the format of the list.
    TooLarge,
}

impl Reason<'_> {
    /// Stable name, part of the output contract.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::State(state) => state.name(),
            Self::Rule(name) => name,
            Self::FrameElsewhere => "frame-elsewhere",
            Self::Detached => "detached",
            Self::Unsettled => "unsettled",
            Self::Stale => "stale",
            Self::FrameAbsent => "frame-absent",
            Self::NotOnDisk(reason) => reason.name(),
            Self::TooLarge => "too-large",
        }
    }
}

impl Serialize for Reason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Judges blocks by everything but their place.
pub struct Judge<'a> {
    layout: &'a Layout,
    residency: Option<&'a Residency>,
    spaces: Option<SpaceVersions<'a>>,
}

impl<'a> Judge<'a> {
    /// A judge for one list. Without a residency table (`None`) the caller has to check the LSN of
    /// pages that were written since they were read (`lsn.rs`).
    #[must_use]
    pub fn new(server: &'a Server, residency: Option<&'a Residency>) -> Self {
        let layout = &server.layout;
        let spaces = layout.space.as_ref().map(|space| SpaceVersions {
            memory: server.memory(),
            layout: space,
            known: HashMap::new(),
            last: None,
        });
        Self { layout, residency, spaces }
    }

    /// State of a block, and why it is not eligible, if so.
    #[inline]
    pub fn judge(&mut self, block: &Block<'_>) -> (State, Option<Reason<'a>>) {
        match block.verdict() {
            Verdict::Clean => (State::Clean, self.doubt(block)),
            Verdict::Fails(condition) => {
                let rule = &self.layout.block.rule[condition];
                let state = match rule.reason.as_str() {
                    "io" => State::Io,
                    _ if block.oldest_lsn() != 0 => State::Dirty,
                    _ => State::Clean,
                };
                (state, Some(Reason::Rule(&rule.reason)))
            }
            Verdict::FrameElsewhere => (State::Clean, Some(Reason::FrameElsewhere)),
            Verdict::Unknown => (State::Unknown, Some(Reason::State(State::Unknown))),
            Verdict::NoPage(held) => {
                let state = match held {
                    PageState::Free => State::Free,
                    PageState::Memory => State::Memory,
                    PageState::Evicting => State::Evicting,
                    PageState::NoFrame => State::NoFrame,
                    PageState::Page => State::Unknown,
                };
                (state, Some(Reason::State(state)))
            }
        }
    }

    /// What speaks against a page whose descriptor is clean.
    fn doubt(&mut self, block: &Block<'_>) -> Option<Reason<'a>> {
        if let Some(residency) = self.residency {
            let known = residency.get(block.index);
            let same = known.space == block.space() && known.page == block.page();
            match known.state {
                state::CLEAN if same => {}
                state::DIRTY if same => return Some(Reason::Detached),
                _ => return Some(Reason::Unsettled),
            }
        }
        if let Some(spaces) = &mut self.spaces
            && !spaces.is_current(block)
        {
            return Some(Reason::Stale);
        }
        None
    }
}

/// Versions of tablespace objects, read once a list (`fil_space_t::m_version`, 8.0.23+: a page whose
/// version is another belongs to a dropped or truncated space; buf0buf.h, `buf_page_t::is_stale`).
struct SpaceVersions<'a> {
    memory: Memory,
    layout: &'a SpaceLayout,
    known: HashMap<ServerAddr, Option<(u32, u32)>>,
    last: Option<(ServerAddr, Option<(u32, u32)>)>,
}

impl SpaceVersions<'_> {
    #[inline]
    fn is_current(&mut self, block: &Block<'_>) -> bool {
        let Some((object, version)) = block.space_version() else { return true };
        let found = match self.last {
            Some((last, found)) if last == object => found,
            _ => {
                let found = *self
                    .known
                    .entry(object)
                    .or_insert_with(|| read_space(self.memory, self.layout, object));
                self.last = Some((object, found));
                found
            }
        };
        found == Some((block.space(), version))
    }
}

/// Id and version of a tablespace object; nothing when it cannot be read or is being dropped.
fn read_space(memory: Memory, layout: &SpaceLayout, object: ServerAddr) -> Option<(u32, u32)> {
    let read = |slot: &crate::layout::Slot| {
        let value = memory.integer(object.plus(slot.offset()), slot.size()).ok()?;
        u32::try_from(value).ok()
    };
    if let Some(deleted) = &layout.deleted
        && read(deleted)? != 0
    {
        return None;
    }
    Some((read(&layout.id)?, read(&layout.version)?))
}
