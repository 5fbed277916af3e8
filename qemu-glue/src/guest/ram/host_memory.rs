//! How much RAM a VM of this host can have.
//!
//! QEMU reports how large its RAM is, and the memory for a list or a plan of it grows with that. A file that it maps is
//! no proof: one of shared memory may be all hole, and as long as it likes.

use crate::guest::GuestError;

/// Memory and swap of this host in bytes. The pool of huge pages is part of its memory, also where it was taken at boot
/// (Linux `mm/hugetlb.c`, `gather_bootmem_prealloc`).
pub(super) fn bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let units = info.totalram.saturating_add(info.totalswap);
    units.saturating_mul(u64::from(info.mem_unit).max(1))
}

/// Fails where a VM claims more bytes of RAM than that.
///
/// # Errors
/// [`GuestError::TooLarge`].
pub(super) fn holds(claimed: u64) -> Result<(), GuestError> {
    let held = bytes();
    if claimed > held { Err(GuestError::TooLarge { claimed, held }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::guest::GuestRam;
    use crate::guest::fake_qemu::{FakeQemu, MANY};
    use crate::qmp::Qmp;

    const TIB: usize = 1 << 40;

    /// This process is the QEMU, and its RAM the same file `MANY` times.
    async fn ram(block_bytes: usize, more_ram: &'static str) -> Result<GuestRam, GuestError> {
        let file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(block_bytes as u64).unwrap();
        let map = memmap2::MmapOptions::new().len(block_bytes).map_raw(&file).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let addresses = vec![map.as_ptr() as usize; MANY];
        FakeQemu { addresses, block_bytes, more_ram, ..FakeQemu::default() }.listen(&path);
        let qmp = Qmp::connect(&path).await.unwrap();
        GuestRam::within(Duration::from_secs(30), &qmp, std::process::id()).await
    }

    fn refused(ram: Result<GuestRam, GuestError>) {
        let ram = ram.map(|ram| (ram.total_bytes(), ram.pages()));
        let error = ram.expect_err("bytes of RAM, and pages that are shared");
        let text = error.to_string();
        println!("{text}");
        // 100 TiB, and in the one case 100 MiB more.
        assert!(text.contains(" 104857") && text.contains("MiB"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("stock")));
    }

    #[tokio::test]
    async fn more_shared_ram_than_the_host_has_is_not_believed() {
        refused(ram(TIB, "").await);
    }

    #[tokio::test]
    async fn more_other_ram_than_the_host_has_is_not_believed() {
        let more = "  0000010000000000-000064ffffffffff (prio 0, ram): other\n";
        refused(ram(1 << 20, more).await);
    }

    #[tokio::test]
    async fn as_much_as_the_host_has_is() {
        let ram = ram(1 << 20, "").await.unwrap();
        assert_eq!(ram.total_bytes(), (MANY << 20) as u64);
        assert!(holds(bytes()).is_ok() && holds(bytes() + 1).is_err());
    }
}
