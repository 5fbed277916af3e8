//! A program file: an ELF mapped into memory and read in place.
//!
//! Everything in it is foreign. Offsets and sizes are checked before use, nothing is allocated by a
//! size that the file states except a decompressed section, and that is limited by
//! [`MAX_SECTION_BYTES`].
//!
//! The same type holds a server's program, a separate debug file, a dwz alternate and a `.dwo`.

mod address;
mod content;
mod error;
mod symbol;

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf::{EM_X86_64, ET_DYN};
use object::read::elf::{ElfFile64, FileHeader};
use object::{LittleEndian, Object, ObjectSection};

pub use error::ElfError;
pub use symbol::{Symbol, SymbolKind, SymbolTable};

/// Largest section that is decompressed: a debug section beyond this is refused, as a hostile file
/// may state any size. The `.debug_info` of a server's debug build is below 1 GiB.
pub const MAX_SECTION_BYTES: u64 = 2 << 30;

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
    file_id: Option<FileId>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Program {
    /// Maps the file at `path`; nothing is read but its headers.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, or is not a little-endian 64-bit x86 ELF.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let io = |source| ElfError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(ElfError::NotElf { path: path.to_owned(), source: None });
        }
        let file_id = FileId {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        };
        let map = map_read_only(&file).map_err(io)?;
        let program =
            Self { path: path.to_owned(), file_id: Some(file_id), data: Data::Mapped(map) };
        program.check()?;
        Ok(program)
    }

    /// A program that lies in memory; `path` only names it in messages.
    ///
    /// # Errors
    /// The bytes are not a little-endian 64-bit x86 ELF.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ElfError> {
        let program = Self { path: path.to_owned(), file_id: None, data: Data::Owned(bytes) };
        program.check()?;
        Ok(program)
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
            Data::Mapped(map) => map,
            Data::Owned(bytes) => bytes,
        }
    }

    /// Identity of the opened file; none for a program in memory.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.file_id
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
    /// uncompressed size over [`MAX_SECTION_BYTES`].
    pub fn section(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, ElfError> {
        let elf = self.elf()?;
        let Some(section) = elf.section_by_name(name) else { return Ok(None) };
        let malformed =
            |source| ElfError::Section { path: self.path.clone(), name: name.to_owned(), source };
        let data = section.compressed_data().map_err(malformed)?;
        if data.uncompressed_size > MAX_SECTION_BYTES {
            return Err(ElfError::SectionTooBig {
                path: self.path.clone(),
                name: name.to_owned(),
                size: data.uncompressed_size,
            });
        }
        let bytes = data.decompress().map_err(malformed)?;
        Ok((!bytes.is_empty()).then_some(bytes))
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

#[expect(unsafe_code, reason = "mapping a file is unsafe: another process may truncate it")]
fn map_read_only(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read only and private. A running program cannot be written (ETXTBSY), and
    // package managers replace debug files by rename; a file truncated in place by an operator
    // while it is read ends this process with SIGBUS and harms nobody else.
    unsafe { Mmap::map(file) }
}
