//! A program file: an ELF read into memory once, and parsed in place there.
//!
//! Everything in it is foreign. Offsets and sizes are checked before use, nothing is allocated by a
//! size that the file states except its copy ([`FileSnapshot`]) and decompressed sections, and those
//! are counted by a [`Budget`].
//!
//! The same type holds a server's program, a separate debug file, a dwz alternate and a `.dwo`.

mod address;
mod error;
mod file_id;
mod section;
pub(crate) mod snapshot;
mod symbol;

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf::{EM_X86_64, ET_DYN};
use object::read::elf::{ElfFile64, FileHeader};
use object::{CompressionFormat, LittleEndian, Object, ObjectSection};

pub use error::ElfError;
pub(crate) use error::STORED_PROFILE;
pub use file_id::FileVersion;
pub use section::Section;
pub use snapshot::{FileSnapshot, MAX_FILE_BYTES, Owner, SnapshotError};
pub use symbol::{Symbol, SymbolKind, SymbolTable};
pub(crate) use symbol::{is_body, stem};

use crate::budget::Budget;
use crate::cause::Cause;

/// Most bytes that one compressed byte may stand for: 1032 with zlib (zlib's "Technical Details"). With
/// zstd it may be more, but debug sections come nowhere near.
const MAX_RATIO: u64 = 1032;

/// The parsed headers of a [`Program`]; cheap to make, borrows the map.
pub(crate) type Elf<'data> = ElfFile64<'data, LittleEndian>;

/// An x86-64 ELF file.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    data: Data,
    hash: blake3::Hash,
    budget: Budget,
}

#[derive(Debug)]
enum Data {
    Read { map: Mmap, snapshot: FileSnapshot },
    Owned(Vec<u8>),
}

impl Program {
    /// Reads the file at `path`, whole.
    ///
    /// # Errors
    /// The file cannot be opened or read, is too large, or is not a little-endian 64-bit x86 ELF.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        Self::open_within(path, &Budget::default())
    }

    /// As [`Self::open`]; its copy and its decompressed sections count on `budget`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_within(path: &Path, budget: &Budget) -> Result<Self, ElfError> {
        Self::open_until(path, budget, &|| false)
    }

    pub(crate) fn open_until(
        path: &Path,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, ElfError> {
        let snapshot = FileSnapshot::read_until(path, budget, stop);
        Self::of(path, snapshot.map_err(|error| ElfError::read(path, error))?, budget)
    }

    /// A program that was read; `path` only names it in messages.
    ///
    /// # Errors
    /// The bytes are not a little-endian 64-bit x86 ELF.
    pub fn of(path: &Path, snapshot: FileSnapshot, budget: &Budget) -> Result<Self, ElfError> {
        let hash = snapshot.hash();
        let map = map_sealed(&snapshot)
            .map_err(|error| ElfError::read(path, SnapshotError::from(error)))?;
        let data = Data::Read { map, snapshot };
        Self { path: path.to_owned(), data, hash, budget: budget.clone() }.checked()
    }

    /// A program that lies in memory; `path` only names it in messages.
    ///
    /// # Errors
    /// The bytes are not a little-endian 64-bit x86 ELF.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>, budget: &Budget) -> Result<Self, ElfError> {
        let (path, hash, budget) = (path.to_owned(), blake3::hash(&bytes), budget.clone());
        Self { path, data: Data::Owned(bytes), hash, budget }.checked()
    }

    fn checked(self) -> Result<Self, ElfError> {
        if has_extended_tables(self.bytes()) {
            let source = Cause::new(&"more sections or segments than any program has");
            return Err(ElfError::NotElf { path: self.path, source: Some(source) });
        }
        self.check().map(|()| self)
    }

    fn check(&self) -> Result<(), ElfError> {
        let elf = self.elf()?;
        let machine = elf.elf_header().e_machine(LittleEndian);
        if machine != EM_X86_64 {
            return Err(ElfError::Machine { path: self.path.clone(), machine: machine.0 });
        }
        Ok(())
    }

    /// The parsed headers. Parsing looks at the header tables only, so it is done anew each time
    /// rather than held in a self-referential value.
    pub(crate) fn elf(&self) -> Result<Elf<'_>, ElfError> {
        Elf::parse(self.bytes())
            .map_err(|e| ElfError::NotElf { path: self.path.clone(), source: Some(e.into()) })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Read { map, .. } => map,
            Data::Owned(bytes) => bytes,
        }
    }

    /// BLAKE3 of exactly [`Self::bytes`], hexadecimal; taken when they were read.
    #[must_use]
    pub fn content_hash(&self) -> String {
        self.hash.to_hex().to_string()
    }

    /// What its copy and its sections count on.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Identity of the file that was read; none for a program in memory.
    #[must_use]
    pub fn file_id(&self) -> Option<FileVersion> {
        self.snapshot().map(FileSnapshot::file_id)
    }

    /// Who may have written the file that was read; none for a program in memory.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.snapshot().map(FileSnapshot::owner)
    }

    pub(crate) fn snapshot(&self) -> Option<&FileSnapshot> {
        match &self.data {
            Data::Read { snapshot, .. } => Some(snapshot),
            Data::Owned(_) => None,
        }
    }

    /// `.note.gnu.build-id`; none when the linker wrote none, or a malformed one.
    #[must_use]
    pub fn build_id(&self) -> Option<Vec<u8>> {
        let elf = self.elf().ok()?;
        let id = elf.build_id().ok()??;
        // 20 bytes (SHA-1) is usual; a longer one is somebody's own choice up to a point.
        (1..=64).contains(&id.len()).then(|| id.to_vec())
    }

    /// [`Self::build_id`] in hexadecimal.
    #[must_use]
    pub fn build_id_hex(&self) -> Option<String> {
        self.build_id().map(|id| hex(&id))
    }

    /// True when a load bias is to be added to link addresses (`ET_DYN`).
    #[must_use]
    pub fn is_pie(&self) -> bool {
        self.elf().is_ok_and(|elf| elf.elf_header().e_type(LittleEndian) == ET_DYN)
    }

    /// Bytes of a section by name, decompressed if need be (`SHF_COMPRESSED`, and `.zdebug_*` when
    /// `name` is `.debug_*`). None when there is no such section, or it has no bytes in the file
    /// (`SHT_NOBITS`, as in debug files).
    ///
    /// # Errors
    /// The section lies outside the file, is compressed in an unknown or broken way, or states an
    /// uncompressed size for which there is no room in the budget.
    pub fn section(&self, name: &str) -> Result<Option<Section<'_>>, ElfError> {
        let elf = self.elf()?;
        let Some(section) = elf.section_by_name(name) else { return Ok(None) };
        let malformed = |error: object::Error| ElfError::Section {
            path: self.path.clone(),
            name: name.to_owned(),
            source: error.into(),
        };
        let data = section.compressed_data().map_err(malformed)?;
        let most = (data.data.len() as u64).saturating_mul(MAX_RATIO);
        let charge = match data.format {
            CompressionFormat::None => None,
            // Memory of the stated size is taken and cleared before the first byte is decompressed.
            _ if data.uncompressed_size > most => {
                let source = Cause::new(&"it states more bytes than its compressed ones can hold");
                let (path, name) = (self.path.clone(), name.to_owned());
                return Err(ElfError::Section { path, name, source });
            }
            _ => Some(self.budget.take(data.uncompressed_size).ok_or_else(|| {
                ElfError::SectionTooBig {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    size: data.uncompressed_size,
                    limit: self.budget.limit(),
                }
            })?),
        };
        let bytes = data.decompress().map_err(malformed)?;
        Ok((!bytes.is_empty()).then(|| Section::new(bytes, charge)))
    }
}

/// True when the number of sections or segments stands elsewhere, because it is 65,280 or more
/// (`e_shnum` 0 or `e_phnum` 0xffff, System V gABI, "ELF Header"): tables as long as the file, which
/// are read and copied whenever headers are parsed.
fn has_extended_tables(bytes: &[u8]) -> bool {
    let field = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let has_sections = bytes.get(0x28..0x30).is_some_and(|at| at != [0; 8]);
    field(0x38) == Some(u16::MAX) || (has_sections && field(0x3c) == Some(0))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[expect(unsafe_code, reason = "mapping is unsafe: what is mapped may change")]
fn map_sealed(snapshot: &FileSnapshot) -> std::io::Result<Mmap> {
    // SAFETY: the map is read only, of memory that is sealed: nobody, this process included, can
    // write it or change its size any more.
    unsafe { Mmap::map(snapshot.memory()) }
}
