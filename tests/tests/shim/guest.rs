//! The guest's boot sector, assembled from `guest.s`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_servers::command;

/// Guest memory in bytes.
pub(crate) const MEMORY: u64 = 128 << 20;
/// The filled pages: from 16 MiB to 80 MiB.
pub(crate) const FIRST_PAGE: u64 = 4096;
/// How many they are.
pub(crate) const PAGES: u64 = 16384;
/// Where the guest says that it has filled them, and what.
pub(crate) const DONE: (u64, [u8; 4]) = (0x90_0000, *b"DONE");

/// Pages that the guest counts up for ever.
#[derive(Clone, Copy, Default)]
pub(crate) struct Busy {
    pub(crate) first_page: u32,
    pub(crate) pages: u32,
}

/// Writes the disk with the boot sector.
pub(crate) fn disk(folder: &Path, busy: Busy) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/guest.s");
    let (object, disk) = (folder.join("guest.o"), folder.join("guest.img"));
    command::output(Command::new("as").arg("--32").arg(source).arg("-o").arg(&object)).unwrap();
    let mut link = Command::new("ld");
    link.args(["-m", "elf_i386", "-Ttext=0x7c00", "--oformat=binary"]).arg(object);
    command::output(link.arg("-o").arg(&disk)).unwrap();
    let mut sector = fs::read(&disk).unwrap();
    sector[500..504].copy_from_slice(&(busy.first_page * 4096).to_le_bytes());
    sector[504..508].copy_from_slice(&busy.pages.to_le_bytes());
    // SeaBIOS reads no disk that is smaller than a cylinder (16 heads, 63 sectors).
    sector.resize(2 << 20, 0);
    fs::write(&disk, sector).unwrap();
    disk
}
