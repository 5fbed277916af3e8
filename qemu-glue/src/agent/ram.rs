//! Reading guest RAM at the addresses that the guest reports.

use std::error::Error;

use crate::guest::{GuestError, GuestRam};
use page_number::Gpa;

/// RAM of a VM, by guest-physical address.
pub trait ReadRam {
    /// How much RAM the VM has, in bytes: no list of it is longer than that allows.
    fn ram_bytes(&self) -> u64;

    /// Fills `out` with the bytes at `gpa`.
    ///
    /// # Errors
    /// When not all of the range is RAM that can be read.
    fn read_ram(&self, gpa: u64, out: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl ReadRam for GuestRam {
    fn ram_bytes(&self) -> u64 {
        self.total_bytes()
    }

    fn read_ram(&self, gpa: u64, out: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let bytes = out.len() as u64;
        let not_ram = || GuestError::NotRam { gpa: Gpa(gpa), bytes };
        let mut done = 0;
        // Frames that follow each other may lie in several blocks (NUMA nodes, DIMMs).
        for piece in self.clip(Gpa(gpa), bytes) {
            let end = piece.ahead + piece.bytes;
            let (Ok(from), Ok(to)) = (usize::try_from(piece.ahead), usize::try_from(end)) else {
                return Err(not_ram().into());
            };
            let part = out.get_mut(from..to).filter(|_| piece.ahead == done);
            let part = part.ok_or_else(not_ram)?;
            self.copy(piece.block, piece.offset, part).ok_or_else(not_ram)?;
            done = end;
        }
        if done == bytes { Ok(()) } else { Err(not_ram().into()) }
    }
}

/// For a host that cannot read the guest's RAM, of which the VM has so many bytes: the list is copied.
#[derive(Clone, Copy, Debug)]
pub struct NoRam(pub u64);

impl ReadRam for NoRam {
    fn ram_bytes(&self) -> u64 {
        self.0
    }

    fn read_ram(&self, _: u64, _: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("this host does not read the guest's RAM".into())
    }
}
