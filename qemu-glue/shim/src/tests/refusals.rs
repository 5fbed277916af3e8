//! Settings and states of QEMU in which nothing is hinted.

use page_number::PAGE_BYTES;
use shim_abi::{LibraryState, RefusalReason};

use super::{BLOCK_PAGES, Bench};

/// Changes the made-up QEMU, and gives the reason with which it then refuses a good set.
fn refused(change: impl FnOnce(&Bench)) -> Option<RefusalReason> {
    let mut bench = Bench::new();
    change(&bench);
    bench.arm(&[(0, 300, 3), (1, 300, 3)]);
    bench.sync();
    assert_eq!((bench.state(), bench.hinted()), (LibraryState::Refused, vec![]));
    let reason = bench.reason();
    bench.finish();
    assert_eq!((bench.state(), bench.marked()), (LibraryState::Refused, vec![]));
    reason
}

#[test]
fn a_set_that_does_not_go_together_with_qemu_is_refused() {
    let block = |change: fn(&mut crate::hypervisor::RamBlock)| {
        refused(|bench| change(&mut bench.qemu.blocks.borrow_mut()[1].1))
    };
    assert_eq!(refused(|bench| bench.qemu.clash.set(Some(3))), Some(RefusalReason::Setting(3)));
    assert_eq!(refused(|bench| bench.qemu.stopped.set(true)), Some(RefusalReason::NotRunning));
    let gone = refused(|bench| bench.qemu.blocks.borrow_mut().truncate(1));
    assert_eq!(gone, Some(RefusalReason::UnknownBlock(1)));
    assert_eq!(block(|block| block.shared = false), Some(RefusalReason::NotShared(1)));
    assert_eq!(block(|block| block.migratable = false), Some(RefusalReason::NotMigratable(1)));
    let huge = Some(RefusalReason::PageSize { block: 1, bytes: 1 << 21 });
    assert_eq!(block(|block| block.page_bytes = 1 << 21), huge);
    let bytes = (BLOCK_PAGES + 1) * PAGE_BYTES;
    let longer = Some(RefusalReason::Length { block: 1, bytes });
    assert_eq!(block(|block| block.length += PAGE_BYTES), longer);
}
