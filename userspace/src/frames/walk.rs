//! The eBPF page-table walk of one process.

use probe_abi::KernelLayout;

use super::error::WalkError;
use super::frame::Frame;
use super::kernel::known_kernel;
use super::programs::Programs;
use crate::memory::ServerAddr;

/// The walk of one process, on a kernel whose layout is proven.
pub struct Walk {
    programs: Programs,
    pid: u32,
}

impl Walk {
    /// Loads the programs, proves the kernel's layout and finds process `pid`.
    ///
    /// # Errors
    /// When any of that fails; the pagemap may still work.
    pub fn open(pid: u32) -> Result<Self, WalkError> {
        let mut programs = Programs::new()?;
        known_kernel(&mut programs)?;
        programs.proven = true;
        programs.find(pid)?;
        Ok(Self { programs, pid })
    }

    /// The proven layout, for the walk inside the probes.
    #[must_use]
    pub const fn kernel(&self) -> KernelLayout {
        self.programs.kernel
    }

    /// Fills `out` with the frames from `start` on.
    ///
    /// # Errors
    /// When the process is gone or page tables cannot be read.
    pub fn translate(&mut self, start: ServerAddr, out: &mut [Frame]) -> Result<(), WalkError> {
        match self.programs.translate(start, out) {
            // The leader may have left while its threads go on: look the process up once more.
            Err(WalkError::Gone { .. }) => {
                self.programs.find(self.pid)?;
                self.programs.translate(start, out)
            }
            other => other,
        }
    }
}
