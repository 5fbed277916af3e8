//! The agent's memory as a host sees a guest's: by frame.
//!
//! Physical memory cannot be read on a machine of one's own, so the frames that the agent reports are
//! looked for among those that the kernel says it has, and their bytes are read where they are mapped.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use crate::fixture::RAM_BYTES;
use qemu_glue::agent::ReadRam;
use userspace::frames::{FRAME_BYTES, Frame, Pagemap};
use userspace::memory::ServerAddr;

/// Memory of one process.
pub(crate) struct Memory {
    pid: u32,
    /// Virtual address by frame number; looked up when the first frame is asked for, which is after
    /// the list was made.
    mapped: OnceCell<HashMap<u64, u64>>,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid, mapped: OnceCell::new() }
    }
}

/// Every frame of the private anonymous mappings.
fn frames(pid: u32) -> HashMap<u64, u64> {
    let mut pagemap = Pagemap::open(pid).unwrap();
    let mut found = HashMap::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // `START-END PERMISSIONS OFFSET DEVICE INODE`, and no name (proc(5)).
        if fields.len() != 5 || !fields[1].starts_with("rw-p") {
            continue;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        let count = usize::try_from((end - start) / FRAME_BYTES).unwrap();
        let mut mapped = vec![Frame::ABSENT; count];
        pagemap.translate(ServerAddr(start), &mut mapped).unwrap();
        for (page, frame) in (0_u64..).zip(mapped) {
            if let Some(number) = frame.number() {
                found.insert(number, start + page * FRAME_BYTES);
            }
        }
    }
    found
}

impl ReadRam for Memory {
    fn ram_bytes(&self) -> u64 {
        RAM_BYTES
    }

    fn read_ram(&self, gpa: u64, out: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mapped = self.mapped.get_or_init(|| frames(self.pid));
        let file = File::open(format!("/proc/{}/mem", self.pid))?;
        let (first, step) = (gpa / FRAME_BYTES, usize::try_from(FRAME_BYTES)?);
        for (frame, page) in (first..).zip(out.chunks_mut(step)) {
            let address = mapped.get(&frame).ok_or("no frame of the agent's memory")?;
            file.read_exact_at(page, *address)?;
        }
        Ok(())
    }
}
