//! Real QEMUs for the lab and the tests: Debian's own builds, unpacked into the cache.
//!
//! Nothing is installed on the machine. Each release lies in a root folder of its own with all
//! libraries that it depends on, and runs through that root's loader, so paths mean the same to it as
//! to everybody else.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let qemu = test_qemus::QemuRelease::Q100.installed()?;
//! let version = qemu.command().arg("-version").output()?;
//! # let _ = version;
//! # Ok(())
//! # }
//! ```

mod qemu;
mod release;

pub use qemu::Qemu;
pub use release::QemuRelease;
