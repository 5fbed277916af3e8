//! The proof of a migration: with both VMs paused, the RAM of source and destination is compared byte by byte.
//!
//! All RAM blocks of the machine are compared, not only the guest's memory, and nothing is left out. Memory is read
//! through `/proc`, by no code that the migration uses.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};

use crate::vm::{MEMORY, Machine};

/// Bytes that are compared at a time.
const STEP: usize = 1 << 20;
/// Unit in which differences are reported.
const PAGE: usize = page_number::PAGE_LEN;
/// Offsets of differing pages that are kept.
const KEPT: usize = 64;

/// What the comparison has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Bytes compared.
    pub compared_bytes: u64,
    /// Bytes that differ.
    pub differing_bytes: u64,
    /// Pages that differ.
    pub differing_pages: u64,
    /// Block and offset of the first of them.
    pub first: Vec<(String, u64)>,
}

/// Compares two machines that do not run: the source is in `postmigrate`, the destination before its first instruction.
///
/// # Errors
/// A machine runs, is gone, or the two have different RAM blocks.
pub fn compare(source: &mut Machine, destination: &mut Machine) -> Result<Identity> {
    for machine in [&mut *source, &mut *destination] {
        let state = machine.monitor().run_state()?;
        ensure!(state != "running", "a VM that runs changes its memory while it is compared");
    }
    let [source, destination] = [blocks(source)?, blocks(destination)?];
    let names =
        |blocks: &[Block]| blocks.iter().map(|b| (b.name.clone(), b.length)).collect::<Vec<_>>();
    ensure!(
        names(&source) == names(&destination),
        "the machines differ: RAM blocks {:?} and {:?}",
        names(&source),
        names(&destination)
    );
    ensure!(source.iter().any(|block| block.name == MEMORY), "no RAM block `{MEMORY}`");
    let mut identity = Identity::default();
    for (one, other) in source.iter().zip(&destination) {
        identity.add(one, other)?;
    }
    Ok(identity)
}

impl Identity {
    fn add(&mut self, one: &Block, other: &Block) -> Result<()> {
        let mut buffers = [vec![0; STEP], vec![0; STEP]];
        let mut offset = 0;
        while offset < one.length {
            let length = usize::try_from(one.length - offset)?.min(STEP);
            let [a, b] = &mut buffers;
            one.read(offset, &mut a[..length])?;
            other.read(offset, &mut b[..length])?;
            if a[..length] != b[..length] {
                self.differ(&one.name, offset, &a[..length], &b[..length]);
            }
            self.compared_bytes += length as u64;
            offset += length as u64;
        }
        Ok(())
    }

    fn differ(&mut self, block: &str, offset: u64, a: &[u8], b: &[u8]) {
        for (index, (a, b)) in a.chunks(PAGE).zip(b.chunks(PAGE)).enumerate() {
            let bytes = a.iter().zip(b).filter(|(a, b)| a != b).count();
            if bytes > 0 {
                self.differing_bytes += bytes as u64;
                self.differing_pages += 1;
                if self.first.len() < KEPT {
                    self.first.push((block.to_owned(), offset + (index * PAGE) as u64));
                }
            }
        }
    }
}

/// A RAM block of a QEMU, readable from outside.
#[derive(Debug)]
struct Block {
    name: String,
    length: u64,
    memory: File,
    start: u64,
}

impl Block {
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.memory
            .read_exact_at(to, self.start + offset)
            .with_context(|| format!("failed to read RAM block `{}` at {offset:#x}", self.name))
    }
}

/// All RAM blocks, by name.
fn blocks(machine: &mut Machine) -> Result<Vec<Block>> {
    let text = machine.monitor().human("info ramblock")?;
    let pid = machine.pid();
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut blocks = Vec::new();
    for row in text.lines().filter_map(row) {
        let (memory, start) = if row.name == MEMORY {
            // By its file: reading a hole of it through a mapping would fill the hole.
            (memory_file(pid, row.length)?, 0)
        } else {
            let Some(address) = row.address else { continue };
            (memory.try_clone()?, address)
        };
        blocks.push(Block { name: row.name, length: row.length, memory, start });
    }
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(blocks)
}

/// A line of `info ramblock`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    length: u64,
    address: Option<u64>,
}

/// `              Block Name    PSize              Offset               Used              Total                HVA  RO`
/// from 8.2 on; before there are no last two columns (`softmmu/physmem.c`, `ram_block_format`).
fn row(line: &str) -> Option<Row> {
    let (before, after) = line.split_once(" KiB").or_else(|| line.split_once(" MiB"))?;
    // The name may hold spaces; the number before the unit does not.
    let (name, _) = before.trim().rsplit_once(char::is_whitespace)?;
    let mut numbers = after
        .split_whitespace()
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let used = numbers.nth(1)?;
    Some(Row { name: name.trim().to_owned(), length: used, address: numbers.nth(1) })
}

/// The shared memory file behind the guest's memory.
fn memory_file(pid: u32, length: u64) -> Result<File> {
    let folder = format!("/proc/{pid}/fd");
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to read `{folder}`"))? {
        let path = entry?.path();
        let Ok(target) = fs::read_link(&path) else { continue };
        // `hostmem-memfd.c` names it so.
        if target.to_string_lossy().starts_with("/memfd:memory-backend-memfd") {
            let file = File::open(&path)?;
            if file.metadata()?.len() == length {
                return Ok(file);
            }
        }
    }
    anyhow::bail!("QEMU {pid} has no memory file of {length} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_blocks_are_read() {
        let new = "                  mem0    4 KiB  0x0000000000000000 0x0000000020000000 0x0000000020000000 0x00007f1c5fe00000  rw";
        let length = 0x2000_0000;
        let expected = Row { name: "mem0".into(), length, address: Some(0x7f1c_5fe0_0000) };
        assert_eq!(row(new), Some(expected));
        let old = "    0000:00:02.0/vga.vram    4 KiB  0x0000000080080000 0x0000000001000000 0x0000000001000000";
        let expected = Row { name: "0000:00:02.0/vga.vram".into(), length: 1 << 24, address: None };
        assert_eq!(row(old), Some(expected));
        assert_eq!(row("              Block Name    PSize              Offset"), None);
    }

    #[test]
    fn differences_are_counted_by_page() {
        let (a, mut b) = (vec![0; 3 * PAGE], vec![0; 3 * PAGE]);
        b[PAGE] = 1;
        b[2 * PAGE - 1] = 1;
        let mut identity = Identity::default();
        identity.differ("mem0", 1 << 20, &a, &b);
        assert_eq!((identity.differing_bytes, identity.differing_pages), (2, 1));
        assert_eq!(identity.first, [("mem0".to_owned(), (1 << 20) + 4096)]);
    }
}
