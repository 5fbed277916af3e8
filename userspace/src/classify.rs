//! One classification of a block: from its descriptor and its entry in the residency table to a state, and the
//! reason why its page stays in a migration.
//!
//! ```text
//! descriptor ── described ──> Class (state, reason)          what the server has
//!     └──────── expected ───> Resident ── compare ── entry   whether the probes have the same
//! both ──────── Classifier ─> Class                          for list, rows, viewer and audit
//! ```
//!
//! What each field of a descriptor means is data of the server's definition ([`crate::field_layout`]); nothing here knows it.

use std::collections::HashMap;

use probe_abi::state;
use serde::{Serialize, Serializer};
use symbols::profile::{PageState, RuleReason};

use crate::field_layout::{FieldLayout, Slot, SpaceLayout};
use crate::locate::NotOnDisk;
use crate::memory::{Memory, ServerAddr};
use crate::model::Cell;
use crate::residency::{Residency, Resident};
use crate::scan::Block;

/// State of a block; the names are part of the output contract.
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

    /// Whether the block holds a page of a file.
    #[must_use]
    pub const fn is_page(self) -> bool {
        matches!(self, Self::Clean | Self::Dirty | Self::Io)
    }
}

/// Why a block is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It holds no page; the state names what it holds.
    State(State),
    /// It fails the clean rule.
    Rule(RuleReason),
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
    /// It has no usable extent on disk.
    NotOnDisk(NotOnDisk),
    /// A number does not fit the format of the list.
    TooLarge,
}

impl Reason {
    /// Stable name, part of the output contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State(state) => state.name(),
            Self::Rule(reason) => reason.name(),
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

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its state.
    pub state: State,
    /// The first thing that speaks against leaving it out of a migration.
    pub reason: Option<Reason>,
}

impl Class {
    /// A block that holds no page.
    const fn no_page(state: State) -> Self {
        Self { state, reason: Some(Reason::State(state)) }
    }

    /// The same block, where something else speaks against it unless something has already.
    #[must_use]
    pub fn or(self, doubt: Option<Reason>) -> Self {
        Self { reason: self.reason.or(doubt), ..self }
    }

    /// How the map of the pool colours it.
    #[must_use]
    pub const fn cell(&self) -> Cell {
        match (self.state, self.reason) {
            (State::Free, _) => Cell::Free,
            (State::Memory | State::Evicting | State::NoFrame | State::Unknown, _) => Cell::Other,
            (State::Io, _) => Cell::Io,
            (State::Dirty, _) => Cell::Dirty,
            (State::Clean, None) => Cell::Clean,
            (State::Clean, Some(_)) => Cell::Ineligible,
        }
    }
}

/// What a descriptor alone shows.
#[must_use]
#[inline]
pub fn described(block: &Block<'_>) -> Class {
    let held = match block.holds() {
        Some(PageState::Page) => return described_page(block),
        Some(PageState::Free) => State::Free,
        Some(PageState::Memory) => State::Memory,
        Some(PageState::Evicting) => State::Evicting,
        Some(PageState::NoFrame) => State::NoFrame,
        None => State::Unknown,
    };
    Class::no_page(held)
}

#[inline]
fn described_page(block: &Block<'_>) -> Class {
    match block.first_failure() {
        None if block.frame_is_in_place() => Class { state: State::Clean, reason: None },
        None => Class { state: State::Clean, reason: Some(Reason::FrameElsewhere) },
        Some(reason) => {
            let state = match reason {
                RuleReason::Io => State::Io,
                _ if block.fails(RuleReason::Dirty) => State::Dirty,
                _ => State::Clean,
            };
            Class { state, reason: Some(Reason::Rule(reason)) }
        }
    }
}

/// What an entry of the residency table alone shows.
#[must_use]
pub const fn recorded(entry: &Resident) -> Class {
    match entry.state {
        state::CLEAN => Class { state: State::Clean, reason: None },
        state::DIRTY => {
            Class { state: State::Dirty, reason: Some(Reason::Rule(RuleReason::Dirty)) }
        }
        _ => Class::no_page(State::Free),
    }
}

/// The entry that the residency table must have for a block of this class; none where any entry is right.
#[must_use]
pub fn expected(block: &Block<'_>, class: &Class) -> Option<Resident> {
    match class.state {
        // Between the hash table and the free list; the event comes at the free list.
        State::Evicting => None,
        State::Free | State::Memory | State::NoFrame | State::Unknown => Some(Resident::FREE),
        State::Clean | State::Dirty | State::Io => {
            let no_events = [RuleReason::Compressed, RuleReason::Temporary];
            if no_events.into_iter().any(|reason| block.fails(reason)) || block.is_being_read() {
                return None;
            }
            let dirty = block.fails(RuleReason::Dirty);
            let state = if dirty { state::DIRTY } else { state::CLEAN };
            Some(Resident { state, space: block.space(), page: block.page() })
        }
    }
}

/// How the table compares with what it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Both have the same.
    Agrees,
    /// The table has the page as dirty, the descriptor has it as clean: taken off the flush list without a write, or
    /// an event is in flight.
    Detached,
    /// They contradict each other.
    Differs,
}

/// Compares an entry with what it must have. What page a free block held does not matter.
#[must_use]
pub fn compare(expected: &Resident, entry: &Resident) -> Agreement {
    let same_page = (expected.space, expected.page) == (entry.space, entry.page);
    match (expected.is_free(), entry.is_free()) {
        (true, true) => Agreement::Agrees,
        (true, false) | (false, true) => Agreement::Differs,
        (false, false) if !same_page => Agreement::Differs,
        (false, false) => match (expected.state, entry.state) {
            (state::CLEAN, state::DIRTY) => Agreement::Detached,
            (expected, entry) if expected == entry => Agreement::Agrees,
            _ => Agreement::Differs,
        },
    }
}

/// Classifies blocks by descriptor, residency entry and tablespace: by everything but their place on disk.
pub struct Classifier<'a> {
    residency: Option<&'a Residency>,
    spaces: Option<SpaceVersions<'a>>,
}

impl<'a> Classifier<'a> {
    /// One for one scan. Without a residency table (`None`) the caller has to check the LSN of pages that were written
    /// since they were read (`page_list/source/pool.rs`).
    #[must_use]
    pub fn new(memory: Memory, layout: &'a FieldLayout, residency: Option<&'a Residency>) -> Self {
        let spaces = layout.space.as_ref().map(|space| SpaceVersions {
            memory,
            layout: space,
            known: HashMap::new(),
            last: None,
        });
        Self { residency, spaces }
    }

    /// The class of a block.
    #[inline]
    pub fn classify(&mut self, block: &Block<'_>) -> Class {
        let class = described(block);
        match class.reason {
            None => class.or(self.doubt(block, &class)),
            Some(_) => class,
        }
    }

    /// What speaks against a page whose descriptor is clean.
    fn doubt(&mut self, block: &Block<'_>, class: &Class) -> Option<Reason> {
        if let Some(residency) = self.residency
            && let Some(expected) = expected(block, class)
        {
            match compare(&expected, &residency.get(block.index)) {
                Agreement::Agrees => {}
                Agreement::Detached => return Some(Reason::Detached),
                Agreement::Differs => return Some(Reason::Unsettled),
            }
        }
        let spaces = self.spaces.as_mut()?;
        (!spaces.is_current(block)).then_some(Reason::Stale)
    }
}

/// Versions of tablespace objects, read once a scan (`fil_space_t::m_version`, 8.0.23+: a page whose
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

/// Whether there is a tablespace of this id at `object`, of whatever version.
pub(crate) fn is_space(memory: Memory, layout: &SpaceLayout, object: ServerAddr, id: u32) -> bool {
    let found = memory.integer(object.plus(layout.id.offset()), layout.id.size());
    found.is_ok_and(|found| found == u64::from(id))
}

/// Id and version of a tablespace object; nothing when it cannot be read or is being dropped.
fn read_space(memory: Memory, layout: &SpaceLayout, object: ServerAddr) -> Option<(u32, u32)> {
    let read = |slot: &Slot| {
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

#[cfg(test)]
mod tests;
