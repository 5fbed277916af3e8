//! An open program: its segments and symbol tables, by bounded reads.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use foreign_file::Refusal;
use object::LittleEndian as Le;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, ET_DYN, FileHeader64, PF_X, PT_GNU_EH_FRAME,
    PT_LOAD, PT_NOTE, ProgramHeader64, SHT_DYNSYM, SHT_GNU_HASH, SHT_NOTE, SHT_SYMTAB, STT_FUNC,
    STT_GNU_IFUNC, SectionHeader64, Sym64,
};
use object::pod::{self, Pod};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};

use super::error::TextError;
use super::exports::{Exports, Symbols};
use super::note::Notes;
use super::segment::Segment;
use super::unwind::{Mapped, Unwind};
use crate::addr::{FileOff, LinkAddr};
use crate::ends::Ends;

/// Most program headers and section headers looked at; a server has a dozen and some forty.
const MAX_HEADERS: usize = 4096;

/// Most bytes of one symbol table that are looked through; that of a server has some ten million.
const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Most bytes that are read of a program, all in all: what is needed is both tables once, some rows of the unwind
/// table, and some code.
const MAX_READ: u64 = 512 << 20;

/// Most names of one function that are kept; what the linker has folded together has some.
const MAX_NAMES: usize = 256;

/// Bytes of a symbol table read at once: a multiple of the size of a symbol.
const PIECE: usize = 24 * 4096;

/// Longest name of a function that is read; C++ has names of some hundred bytes.
const MAX_NAME: usize = 4096;

/// The open file of a program that is to be probed.
#[derive(Debug)]
pub struct ProgramText {
    file: File,
    /// `st_dev` and `st_ino`.
    id: (u64, u64),
    /// In bytes, when it was opened.
    size: u64,
    /// Whether it is position independent (`ET_DYN`).
    pie: bool,
    /// Where its build id may stand.
    pub(super) notes: Notes,
    segments: Vec<Segment>,
    /// `.eh_frame_hdr`.
    unwind_header: Option<Range<u64>>,
    /// `.symtab` and `.dynsym`.
    pub(super) tables: Vec<Symbols>,
    /// What finds a name in `.dynsym`; none where `.gnu.hash` is not there.
    pub(super) exports: Option<Exports>,
    /// Names of functions by where they start, of those that were requested.
    names: RefCell<BTreeMap<u64, Vec<String>>>,
    /// What may still be read, in bytes.
    left: Cell<u64>,
    ends: Ends,
    /// True when there is a `.symtab`: every function of the program then has a name.
    pub(super) names_all: bool,
    unwind: OnceCell<Unwind>,
}

impl ProgramText {
    /// Opens the program at `path`, which is looked at before it is opened for reading.
    ///
    /// # Errors
    /// It cannot be opened, is no regular file, or no x86-64 ELF.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let found = foreign_file::program(path).and_then(|found| found.open());
        let file = found.map_err(|refusal| {
            let path = path.to_owned();
            match refusal {
                Refusal::FileSystem { fstype, .. } => TextError::FileSystem { path, fstype },
                Refusal::NoFile { .. } => TextError::NotAFile { path },
                other => TextError::Open { path, source: other.into() },
            }
        });
        Self::of(file?)
    }

    /// The program in an open file.
    ///
    /// # Errors
    /// It cannot be read or is no x86-64 ELF.
    pub fn of(file: File) -> Result<Self, TextError> {
        let meta = file.metadata().map_err(|source| TextError::Read { at: 0, len: 0, source })?;
        let mut text = Self {
            file,
            id: (meta.dev(), meta.ino()),
            size: meta.len(),
            pie: false,
            notes: Notes::default(),
            segments: Vec::new(),
            unwind_header: None,
            tables: Vec::new(),
            exports: None,
            names: RefCell::default(),
            left: Cell::new(MAX_READ),
            ends: Ends::default(),
            names_all: false,
            unwind: OnceCell::new(),
        };
        text.read_headers()?;
        Ok(text)
    }

    /// Reading ends with an error when one of these is there.
    #[must_use]
    pub fn until(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }

    fn read_headers(&mut self) -> Result<(), TextError> {
        let malformed = |what| TextError::Malformed { what };
        let mut bytes = [0; size_of::<FileHeader64<Le>>()];
        self.read(0, &mut bytes)?;
        let (header, _) = pod::from_bytes::<FileHeader64<Le>>(&bytes)
            .map_err(|()| malformed("it has no header"))?;
        let ident = header.e_ident();
        if ident.magic != ELFMAG || ident.class != ELFCLASS64 || ident.data != ELFDATA2LSB {
            return Err(malformed("it is no little-endian ELF of 64 bits"));
        }
        if header.e_machine(Le) != EM_X86_64 {
            return Err(malformed("it is for another machine"));
        }
        self.pie = header.e_type(Le) == ET_DYN;
        let mut notes = Notes::default();
        let (at, count) = (header.e_phoff(Le), header.e_phnum(Le));
        for segment in self.table::<ProgramHeader64<Le>>(at, count, header.e_phentsize(Le))? {
            let (addr, offset) = (segment.p_vaddr(Le), segment.p_offset(Le));
            let len = segment.p_filesz(Le).min(self.size.saturating_sub(offset));
            match segment.p_type(Le) {
                PT_LOAD => {
                    let executable = segment.p_flags(Le).0 & PF_X.0 != 0;
                    self.segments.push(Segment { addr, offset, len, executable });
                }
                PT_GNU_EH_FRAME => self.unwind_header = Some(addr..addr.saturating_add(len)),
                PT_NOTE => notes.add(offset..offset.saturating_add(len), segment.p_align(Le)),
                _ => {}
            }
        }
        let (at, count) = (header.e_shoff(Le), header.e_shnum(Le));
        let sections = self.table::<SectionHeader64<Le>>(at, count, header.e_shentsize(Le))?;
        let range = |section: &SectionHeader64<Le>| {
            let start = section.sh_offset(Le).min(self.size);
            start..start.saturating_add(section.sh_size(Le)).min(self.size)
        };
        // As everybody does: by the sections, where there are any.
        if !sections.is_empty() {
            notes = Notes::default();
        }
        let mut has_dynamic = false;
        for section in &sections {
            let kind = section.sh_type(Le);
            if kind == SHT_NOTE {
                notes.add(range(section), section.sh_addralign(Le));
            }
            if kind != SHT_SYMTAB && kind != SHT_DYNSYM {
                continue;
            }
            if std::mem::replace(
                if kind == SHT_SYMTAB { &mut self.names_all } else { &mut has_dynamic },
                true,
            ) {
                return Err(malformed("it has two symbol tables of one kind"));
            }
            let strings = usize::try_from(section.sh_link(Le)).ok().and_then(|n| sections.get(n));
            let table = range(section);
            if let Some(strings) = strings.map(range)
                && table.end - table.start <= MAX_TABLE_BYTES
            {
                let symbols = Symbols { table, strings };
                if kind == SHT_DYNSYM {
                    let hash = sections.iter().find(|other| other.sh_type(Le) == SHT_GNU_HASH);
                    self.exports = hash.map(|hash| Exports::new(range(hash), symbols.clone()));
                }
                self.tables.push(symbols);
            }
        }
        self.notes = notes;
        Ok(())
    }

    /// `count` headers of `T` from `at` on; none when there are none.
    fn table<T: Pod>(&self, at: u64, count: u16, stride: u16) -> Result<Vec<T>, TextError> {
        let (count, stride) = (usize::from(count), usize::from(stride));
        if at == 0 || count == 0 {
            return Ok(Vec::new());
        }
        if count > MAX_HEADERS || stride != size_of::<T>() {
            return Err(TextError::Malformed { what: "its header tables make no sense" });
        }
        let mut bytes = vec![0; count * stride];
        self.read(at, &mut bytes)?;
        Ok(bytes
            .chunks_exact(stride)
            .filter_map(|entry| pod::from_bytes::<T>(entry).ok())
            .map(|(entry, _)| *entry)
            .collect())
    }

    /// Device and inode of the open file.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Size of the file in bytes, when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True when a load bias is to be added to link addresses.
    #[must_use]
    pub fn is_pie(&self) -> bool {
        self.pie
    }

    /// BLAKE3 of the whole file, hexadecimal; read to its end for it, and nothing of it kept.
    ///
    /// # Errors
    /// It cannot be read, or was cut short.
    pub fn hash(&self) -> Result<String, TextError> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.size {
            if self.ends.reached() {
                return Err(TextError::Ended);
            }
            let len = usize::try_from(self.size - at).map_or(PIECE, |left| left.min(PIECE));
            let read = self.file.read_exact_at(&mut piece[..len], at);
            read.map_err(|source| TextError::Read { at, len, source })?;
            hasher.update(&piece[..len]);
            at += len as u64;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A path that leads to the open file itself, in this process, as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Fills `buffer` from `at` bytes into the file on.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), TextError> {
        let len = buffer.len();
        let left = self.left.get().checked_sub(len as u64);
        self.left.set(left.ok_or(TextError::TooMuch { limit: MAX_READ })?);
        if self.ends.reached() {
            return Err(TextError::Ended);
        }
        self.file.read_exact_at(buffer, at).map_err(|source| TextError::Read { at, len, source })
    }

    /// Where in the file the code at `range` lies; none where not all of it is code.
    pub(super) fn code(&self, range: &Range<u64>) -> Option<FileOff> {
        let segment = self.segment(range).filter(|segment| segment.executable)?;
        segment.offset.checked_add(range.start - segment.addr).map(FileOff)
    }

    /// Bytes of code from `addr` on, up to `len` or the end of the segment.
    pub(super) fn code_from(&self, addr: LinkAddr, len: u64) -> Result<Vec<u8>, TextError> {
        let Some(segment) = self.segment(&(addr.0..addr.0.saturating_add(1))) else {
            return Ok(Vec::new());
        };
        let inside = addr.0 - segment.addr;
        self.bytes(segment.offset.saturating_add(inside), len.min(segment.len - inside))
    }

    /// Names that the program's symbol tables have for functions that start at `addr`.
    pub(super) fn names_at(&self, addr: LinkAddr) -> Result<Vec<String>, TextError> {
        if !self.names.borrow().contains_key(&addr.0) {
            self.look_up([addr])?;
        }
        Ok(self.names.borrow().get(&addr.0).cloned().unwrap_or_default())
    }

    /// Looks up the names of all functions that start at one of `starts`, in one pass through the tables.
    pub(super) fn look_up(
        &self,
        starts: impl IntoIterator<Item = LinkAddr>,
    ) -> Result<(), TextError> {
        let mut found: BTreeMap<u64, Vec<String>> =
            starts.into_iter().map(|start| (start.0, Vec::new())).collect();
        if found.is_empty() {
            return Ok(());
        }
        for Symbols { table, strings } in &self.tables {
            self.each_symbol(table, |symbol| {
                let is_function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC);
                let names = found.get_mut(&symbol.st_value(Le));
                let Some(names) = names.filter(|names| {
                    is_function && !symbol.is_undefined(Le) && names.len() < MAX_NAMES
                }) else {
                    return Ok(());
                };
                let at = strings.start.saturating_add(u64::from(symbol.st_name(Le)));
                let len = strings.end.saturating_sub(at).min(MAX_NAME as u64);
                let bytes = self.bytes(at, len)?;
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                if !names.contains(&name) {
                    names.push(name);
                }
                Ok(())
            })?;
        }
        self.names.borrow_mut().append(&mut found);
        Ok(())
    }

    /// Where the program's symbol tables let the functions of these names start that other files can call; a name that
    /// stands at two places has both.
    pub(super) fn starts_of(&self, names: &[&str]) -> Result<Vec<(usize, LinkAddr)>, TextError> {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0) as u64;
        let mut starts = Vec::new();
        for Symbols { table, strings } in &self.tables {
            self.each_symbol(table, |symbol| {
                if symbol.st_type() != STT_FUNC || symbol.is_local() || symbol.is_undefined(Le) {
                    return Ok(());
                }
                let at = strings.start.saturating_add(u64::from(symbol.st_name(Le)));
                let bytes = self.bytes(at, strings.end.saturating_sub(at).min(longest + 1))?;
                let own = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                let Some(index) = names.iter().position(|name| name.as_bytes() == own) else {
                    return Ok(());
                };
                let start = (index, LinkAddr(symbol.st_value(Le)));
                if !starts.contains(&start) {
                    starts.push(start);
                }
                Ok(())
            })?;
        }
        starts.sort_unstable();
        Ok(starts)
    }

    pub(super) fn each_symbol(
        &self,
        table: &Range<u64>,
        mut each: impl FnMut(&Sym64<Le>) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        const SIZE: usize = size_of::<Sym64<Le>>();
        let mut at = table.start;
        while table.end - at >= SIZE as u64 {
            let piece = self.bytes(at, (table.end - at).min(PIECE as u64))?;
            for symbol in piece.chunks_exact(SIZE) {
                if let Ok((symbol, _)) = pod::from_bytes::<Sym64<Le>>(symbol) {
                    each(symbol)?;
                }
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The function that holds `addr` by the program's unwind table, as a range of addresses.
    pub(super) fn unwound(&self, addr: LinkAddr) -> Result<Option<Range<u64>>, TextError> {
        let unwind = match (self.unwind.get(), &self.unwind_header) {
            (Some(unwind), _) => unwind,
            (None, None) => return Ok(None),
            (None, Some(header)) => {
                let read = Unwind::read(self, header.clone())?;
                self.unwind.get_or_init(|| read)
            }
        };
        unwind.function(self, addr)
    }
}

impl Mapped for ProgramText {
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, TextError> {
        // Nothing is allocated for what the file does not have.
        let inside = at.checked_add(len).is_some_and(|end| end <= self.size);
        let len = usize::try_from(len).ok().filter(|_| inside).ok_or_else(|| TextError::Read {
            at,
            len: 0,
            source: io::ErrorKind::UnexpectedEof.into(),
        })?;
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    fn segment(&self, range: &Range<u64>) -> Option<Segment> {
        self.segments
            .iter()
            .find(|segment| {
                range.start >= segment.addr
                    && range.end.checked_sub(segment.addr).is_some_and(|end| end <= segment.len)
            })
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own program has symbols by the thousand.
    #[test]
    fn names_of_many_functions_are_read_in_one_pass() {
        let text = ProgramText::open(Path::new("/proc/self/exe")).unwrap();
        let mut starts = Vec::new();
        for Symbols { table, .. } in &text.tables {
            text.each_symbol(table, |symbol| {
                let is_function = symbol.st_type() == STT_FUNC && !symbol.is_undefined(Le);
                starts.extend(is_function.then(|| LinkAddr(symbol.st_value(Le))));
                Ok(())
            })
            .unwrap();
        }
        starts.truncate(100);
        let before = text.left.get();
        text.look_up(starts.clone()).unwrap();
        let tables: u64 = text.tables.iter().map(|of| of.table.end - of.table.start).sum();
        let names = 200 * MAX_NAME as u64;
        let read = before - text.left.get();
        assert!(read <= tables + names, "{read} bytes read, {tables} of tables");
        let after = text.left.get();
        for start in starts {
            assert!(!text.names_at(start).unwrap().is_empty());
        }
        assert_eq!(text.left.get(), after);
        // An endless series of requests has a limit.
        let error = loop {
            if let Err(error) = text.bytes(0, 1 << 20) {
                break error;
            }
        };
        assert!(matches!(error, TextError::TooMuch { .. }), "{error}");
    }
}
