//! A program file: an ELF read into memory once, and parsed in place there.
//!
//! Everything in it is foreign. Offsets and sizes are checked before use, nothing is allocated by a
//! size that the file states except its copy ([`Snapshot`]) and decompressed sections, and those
//! are counted by a [`Budget`].
//!
//! The same type holds a server's program, a separate debug file, a dwz alternate and a `.dwo`.

mod address;
mod error;
mod section;
pub(crate) mod snapshot;
mod symbol;

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf::{EM_X86_64, ET_DYN};
use object::read::elf::{ElfFile64, FileHeader};
use object::{CompressionFormat, LittleEndian, Object, ObjectSection};

pub use error::ElfError;
pub use section::Section;
pub use snapshot::{MAX_FILE_BYTES, Owner, Snapshot, SnapshotError};
pub use symbol::{Symbol, SymbolKind, SymbolTable};

use crate::budget::Budget;

/// The parsed headers of a [`Program`]; cheap to make, borrows the map.
pub(crate) type Elf<'data> = ElfFile64<'data, LittleEndian>;

/// What identifies a file on this machine until it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

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
    Read { map: Mmap, snapshot: Snapshot },
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
        let snapshot = Snapshot::read(path, budget);
        Self::of(path, snapshot.map_err(|error| ElfError::read(path, error))?, budget)
    }

    /// A program that was read; `path` only names it in messages.
    ///
    /// # Errors
    /// The bytes are not a little-endian 64-bit x86 ELF.
    pub fn of(path: &Path, snapshot: Snapshot, budget: &Budget) -> Result<Self, ElfError> {
        let hash = snapshot.hash();
        let map = map_sealed(&snapshot).map_err(|error| ElfError::read(path, error.into()))?;
        let data = Data::Read { map, snapshot };
        Self { path: path.to_owned(), data, hash, budget: budget.clone() }.checked()
    }

    /// A program that lies in memory; `path` only names it in messages.
    ///
    /// # Errors
    /// The bytes are not a little-endian 64-bit x86 ELF.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ElfError> {
        let (path, hash) = (path.to_owned(), blake3::hash(&bytes));
        Self { path, data: Data::Owned(bytes), hash, budget: Budget::default() }.checked()
    }

    fn checked(self) -> Result<Self, ElfError> {
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
            .map_err(|e| ElfError::NotElf { path: self.path.clone(), source: Some(e) })
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

    /// The hash of exactly [`Self::bytes`], and the owner of the file that they were read from: who could
    /// have made them so.
    pub(crate) fn identity(&self) -> ([u8; 32], u32) {
        (*self.hash.as_bytes(), self.owner().map_or(u32::MAX, |owner| owner.uid))
    }

    /// What its copy and its sections count on.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Identity of the file that was read; none for a program in memory.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.snapshot().map(Snapshot::file_id)
    }

    /// Who may have written the file that was read; none for a program in memory.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.snapshot().map(Snapshot::owner)
    }

    fn snapshot(&self) -> Option<&Snapshot> {
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
        let malformed =
            |source| ElfError::Section { path: self.path.clone(), name: name.to_owned(), source };
        let data = section.compressed_data().map_err(malformed)?;
        let charge = match data.format {
            CompressionFormat::None => None,
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
fn map_sealed(snapshot: &Snapshot) -> std::io::Result<Mmap> {
    // SAFETY: the map is read only, of memory that is sealed: nobody, this process included, can
    // write it or change its size any more.
    unsafe { Mmap::map(snapshot.memory()) }
}
