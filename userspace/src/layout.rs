//! A profile compiled for reading descriptors fast: offsets checked once, then plain indexing.

use probe_abi::ServerLayout;
use symbols::profile::{Field, Op, PageState, Profile};
use thiserror::Error;

/// The profile lacks something that the agent cannot do without, or contradicts itself.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// Not in the profile.
    #[error("the profile of {server} has no {what} `{role}`{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Missing {
        /// Server and version.
        server: String,
        /// `field`, `size`, `global`, `enum` or `site`.
        what: &'static str,
        /// Its role.
        role: String,
        /// Why, where the profile says so.
        reason: Option<String>,
    },
    /// A field does not lie in its type.
    #[error("field `{path}` at {offset:#x}+{size} does not lie in its type of {bounds} bytes")]
    OutOfBounds {
        /// The server's own path.
        path: String,
        /// Its offset.
        offset: u64,
        /// Its size.
        size: u64,
        /// Size of the type.
        bounds: u64,
    },
    /// No struct of a server has this size.
    #[error("the profile gives type `{role}` {bytes} bytes, which makes no sense")]
    Absurd {
        /// Role of the type.
        role: String,
        /// Its size by the profile.
        bytes: u64,
    },
}

impl LayoutError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "`poolferry symbols` shows what was found and why not more; install the server's debug \
         symbols, set DEBUGINFOD_URLS, or store a profile for this build id"
    }
}

/// Where an integer lies in a struct of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    offset: usize,
    size: usize,
    shift: u32,
    mask: u64,
}

impl Slot {
    /// A slot that is known to lie inside `bounds` bytes.
    fn new(field: &Field, bounds: u64) -> Result<Self, LayoutError> {
        let end = field.offset.checked_add(field.size);
        if field.size == 0 || field.size > 8 || end.is_none_or(|end| end > bounds) {
            return Err(LayoutError::OutOfBounds {
                path: field.path.clone(),
                offset: field.offset,
                size: field.size,
                bounds,
            });
        }
        let (shift, width) = field.bits.map_or((0, 64), |b| (u32::from(b.shift), b.width));
        Ok(Self {
            offset: usize::try_from(field.offset).unwrap_or(usize::MAX),
            size: usize::try_from(field.size).unwrap_or(8),
            shift: shift.min(63),
            mask: if width >= 64 { u64::MAX } else { (1 << width) - 1 },
        })
    }

    /// Offset from the start of the struct in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Size of the storage unit in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The unsigned value in `bytes`, which start where the struct starts. 0 past their end.
    #[must_use]
    #[inline]
    pub fn read(&self, bytes: &[u8]) -> u64 {
        let raw = match (self.size, bytes.get(self.offset..)) {
            (8, Some([a, b, c, d, e, f, g, h, ..])) => {
                u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
            }
            (4, Some([a, b, c, d, ..])) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
            (1, Some([a, ..])) => u64::from(*a),
            (size, Some(rest)) => {
                let mut word = [0; 8];
                let len = size.min(rest.len());
                word[..len].copy_from_slice(&rest[..len]);
                u64::from_le_bytes(word)
            }
            (_, None) => 0,
        };
        raw >> self.shift & self.mask
    }

    /// The value as a signed integer of the slot's size.
    #[must_use]
    #[inline]
    pub fn read_signed(&self, bytes: &[u8]) -> i64 {
        let value = self.read(bytes);
        if self.mask != u64::MAX || self.size >= 8 {
            return value.cast_signed();
        }
        let unused = 64 - 8 * u32::try_from(self.size).unwrap_or(8);
        (value << unused).cast_signed() >> unused
    }
}

/// One condition of the clean rule.
#[derive(Clone, Debug)]
pub struct Condition {
    slot: Slot,
    op: Op,
    value: i64,
    mask: u64,
    /// Why a page that fails it is not eligible.
    pub reason: String,
}

impl Condition {
    /// Whether the descriptor in `bytes` satisfies it.
    #[inline]
    fn holds(&self, bytes: &[u8]) -> bool {
        let value = self.slot.read_signed(bytes) & self.mask.cast_signed();
        match self.op {
            Op::Eq => value == self.value,
            Op::Ne => value != self.value,
            Op::Gt => value > self.value,
            Op::Le => value <= self.value,
        }
    }
}

/// The fields of a block descriptor and the rule over them.
#[derive(Clone, Debug)]
pub struct BlockLayout {
    /// Distance between descriptors in bytes.
    pub stride: usize,
    /// Space id.
    pub space: Slot,
    /// Page number.
    pub page: Slot,
    /// State word.
    pub state: Slot,
    /// I/O state.
    pub io_fix: Slot,
    /// LSN of the newest change, where the server keeps it.
    pub newest_lsn: Option<Slot>,
    /// LSN of the oldest unwritten change, 0 when clean.
    pub oldest_lsn: Slot,
    /// Address of the frame.
    pub frame: Slot,
    /// Address of the compressed copy, 0 for none.
    pub zip_data: Option<Slot>,
    /// Value of the I/O state while a read is under way.
    pub io_read: u8,
    /// Address of the tablespace object, where the descriptor keeps it (8.0+).
    pub space_object: Option<Slot>,
    /// Version of the tablespace that the page belongs to (8.0.23+).
    pub space_version: Option<Slot>,
    states: Vec<(u64, PageState)>,
    /// The clean rule, in order.
    pub rule: Vec<Condition>,
}

impl BlockLayout {
    /// What the state word says; an unknown value holds no page.
    #[must_use]
    #[inline]
    pub fn page_state(&self, descriptor: &[u8]) -> Option<PageState> {
        let word = self.state.read(descriptor);
        self.states.iter().find(|(value, _)| *value == word).map(|(_, state)| *state)
    }

    /// Index in [`BlockLayout::rule`] of the first condition that fails.
    #[must_use]
    #[inline]
    pub fn first_failure(&self, descriptor: &[u8]) -> Option<usize> {
        self.rule.iter().position(|condition| !condition.holds(descriptor))
    }
}

/// Offsets of one chunk structure and of the pool that holds them.
#[derive(Clone, Debug)]
pub struct PoolLayout {
    /// Size of one pool instance.
    pub pool_size: u64,
    /// Number of chunks, in the pool.
    pub n_chunks: Slot,
    /// Number of chunks that the pool is to have, where online resize exists.
    pub n_chunks_new: Option<Slot>,
    /// Address of the array of chunks, in the pool.
    pub chunks: Slot,
    /// Size of one chunk structure.
    pub chunk_size: u64,
    /// Number of blocks, in the chunk.
    pub blocks_len: Slot,
    /// Address of the first descriptor, in the chunk.
    pub blocks: Slot,
}

/// Offsets in the tablespace object, where descriptors point to it.
#[derive(Clone, Debug)]
pub struct SpaceLayout {
    /// Space id.
    pub id: Slot,
    /// Version, compared with the descriptor's.
    pub version: Slot,
    /// Set when the space is being dropped, where the server keeps such a flag.
    pub deleted: Option<Slot>,
}

/// A compiled profile.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Block descriptors.
    pub block: BlockLayout,
    /// Pool and chunks.
    pub pool: PoolLayout,
    /// Tablespace objects.
    pub space: Option<SpaceLayout>,
    io_write: u8,
}

/// Most bytes of a struct of the server; `buf_pool_t`, the largest, has some thousand. Buffers are made
/// by these sizes, and counts multiplied by them.
const MAX_SIZE: u64 = 1 << 20;

/// Most bytes of a block descriptor, of which a pool has millions; debug builds have some thousand.
const MAX_BLOCK: u64 = 16 << 10;

/// Size taken for a struct whose size the profile does not say; only bounds reads of it.
const UNKNOWN_SIZE: u64 = 1 << 16;

impl Layout {
    /// Compiles `profile`.
    ///
    /// # Errors
    /// When something that the agent needs is missing or out of bounds.
    pub fn compile(profile: &Profile) -> Result<Self, LayoutError> {
        let find = Finder { profile };
        // Without its enumerator a condition of the clean rule, or a state, would be left out. One that
        // is only recorded (its role is its name) is asked for below, where it is needed.
        if let Some(missing) = profile.lacking("enum").find(|m| m.role != m.name) {
            return Err(find.missing("enum", &missing.name));
        }
        let stride = find.size("block")?;
        if stride > MAX_BLOCK {
            return Err(LayoutError::Absurd { role: "block".to_owned(), bytes: stride });
        }
        let block = |role: &str| find.slot(role, stride);
        let rule = profile
            .rules
            .iter()
            .map(|rule| {
                Ok(Condition {
                    slot: block(&rule.field)?,
                    op: rule.op,
                    value: rule.value,
                    mask: rule.mask.unwrap_or(u64::MAX),
                    reason: rule.reason.clone(),
                })
            })
            .collect::<Result<_, LayoutError>>()?;
        let states = profile.states.iter().map(|(v, s)| (v.cast_unsigned(), *s)).collect();
        let pool_size = find.size("pool")?;
        let chunk_size = find.size("chunk")?;
        let io_read = find.enumerator("BUF_IO_READ")?;
        Ok(Self {
            block: BlockLayout {
                stride: usize::try_from(stride).unwrap_or(usize::MAX),
                space: block("block.space")?,
                page: block("block.page")?,
                state: block("block.state")?,
                io_fix: block("block.io_fix")?,
                newest_lsn: block("block.newest_lsn").ok(),
                oldest_lsn: block("block.oldest_lsn")?,
                frame: block("block.frame")?,
                zip_data: block("block.zip_data").ok(),
                io_read,
                space_object: block("block.space_ptr").ok(),
                space_version: block("block.space_version").ok(),
                states,
                rule,
            },
            pool: PoolLayout {
                pool_size,
                n_chunks: find.slot("pool.n_chunks", pool_size)?,
                n_chunks_new: find.slot("pool.n_chunks_new", pool_size).ok(),
                chunks: find.slot("pool.chunks", pool_size)?,
                chunk_size,
                blocks_len: find.slot("chunk.size", chunk_size)?,
                blocks: find.slot("chunk.blocks", chunk_size)?,
            },
            space: match (
                find.slot("space.id", UNKNOWN_SIZE),
                find.slot("space.version", UNKNOWN_SIZE),
            ) {
                (Ok(id), Ok(version)) => {
                    let deleted = find.slot("space.deleted", UNKNOWN_SIZE).ok();
                    Some(SpaceLayout { id, version, deleted })
                }
                _ => None,
            },
            io_write: find.enumerator("BUF_IO_WRITE")?,
        })
    }

    /// The part that the eBPF programs need.
    #[must_use]
    pub fn for_probes(&self) -> ServerLayout {
        let offset = |slot: &Slot| u32::try_from(slot.offset).unwrap_or(u32::MAX);
        ServerLayout {
            stride: u32::try_from(self.block.stride).unwrap_or(0),
            space: offset(&self.block.space),
            page: offset(&self.block.page),
            io_fix: offset(&self.block.io_fix),
            io_read: u32::from(self.block.io_read),
            io_write: u32::from(self.io_write),
            frame: offset(&self.block.frame),
            reserved: 0,
        }
    }
}

/// Looks roles up and turns absence into an error that says why.
struct Finder<'a> {
    profile: &'a Profile,
}

impl Finder<'_> {
    fn missing(&self, what: &'static str, role: &str) -> LayoutError {
        let known = self.profile.missing.iter().find(|m| m.role == role || m.name == role);
        LayoutError::Missing {
            server: format!("{} {}", self.profile.server.family, self.profile.server.version),
            what,
            role: role.to_owned(),
            reason: known.map(|m| m.reason.to_string()),
        }
    }

    fn size(&self, role: &str) -> Result<u64, LayoutError> {
        let bytes = *self.profile.sizes.get(role).ok_or_else(|| self.missing("size", role))?;
        if (1..=MAX_SIZE).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(LayoutError::Absurd { role: role.to_owned(), bytes })
        }
    }

    fn slot(&self, role: &str, bounds: u64) -> Result<Slot, LayoutError> {
        let field = self.profile.fields.get(role).ok_or_else(|| self.missing("field", role))?;
        Slot::new(field, bounds)
    }

    fn enumerator(&self, name: &str) -> Result<u8, LayoutError> {
        let value = self.profile.enums.get(name).ok_or_else(|| self.missing("enum", name))?;
        u8::try_from(*value).map_err(|_| self.missing("enum", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored_profile::stored;
    use symbols::profile::{Bits, Missing};
    use symbols::reason::Reason;

    fn field(offset: u64, size: u64, bits: Option<Bits>) -> Field {
        Field { path: "t.f".into(), offset, size, bits }
    }

    #[test]
    fn slots_read_plain_and_bit_fields() {
        let bytes = [0x12, 0x34, 0xff, 0x80, 0x01, 0, 0, 0x80, 9];
        let plain = Slot::new(&field(1, 2, None), 9).unwrap();
        assert_eq!(plain.read(&bytes), 0xff34);
        assert_eq!(plain.read_signed(&bytes), -204);
        let bits = Slot::new(&field(0, 4, Some(Bits { shift: 4, width: 8 })), 9).unwrap();
        assert_eq!(bits.read(&bytes), 0x41);
        let whole = Slot::new(&field(0, 8, None), 9).unwrap();
        assert_eq!(whole.read_signed(&bytes), 0x8000_0001_80ff_3412_u64.cast_signed());
        assert_eq!(whole.read(&bytes[..4]), 0x80ff_3412, "short input reads as far as it goes");
    }

    #[test]
    fn sizes_that_no_struct_has_are_refused() {
        Layout::compile(&stored()).unwrap();
        for role in ["block", "pool", "chunk"] {
            for bytes in [0, MAX_SIZE + 1, u64::MAX] {
                let mut profile = stored();
                profile.sizes.insert(role.to_owned(), bytes);
                let error = Layout::compile(&profile).unwrap_err();
                assert!(matches!(error, LayoutError::Absurd { .. }), "{role}: {error}");
                assert!(error.to_string().contains(role) && error.hint().contains("symbols"));
            }
        }
        let mut profile = stored();
        profile.sizes.insert("block".to_owned(), MAX_BLOCK + 1);
        assert!(matches!(Layout::compile(&profile), Err(LayoutError::Absurd { .. })));
    }

    #[test]
    fn a_rule_without_its_enumerator_is_refused() {
        let lacking = |role: &str, name: &str, required| {
            let mut profile = stored();
            profile.missing.push(Missing {
                what: "enum".to_owned(),
                role: role.to_owned(),
                name: name.to_owned(),
                required,
                reason: Reason::NotInDebugInfo,
            });
            Layout::compile(&profile)
        };
        let text = lacking("io", "BUF_IO_NONE", true).unwrap_err().to_string();
        assert!(text.contains("enum `BUF_IO_NONE`"), "{text}");
        assert!(lacking("state", "BUF_BLOCK_FILE_PAGE", true).is_err());
        lacking("io", "BUF_IO_NONE", false).unwrap();
        lacking("COM_QUERY", "COM_QUERY", true).unwrap();
    }

    #[test]
    fn fields_outside_their_type_are_refused() {
        for (offset, size) in [(8, 8), (u64::MAX, 4), (0, 0), (0, 16)] {
            assert!(Slot::new(&field(offset, size, None), 15).is_err(), "{offset}+{size}");
        }
    }
}
