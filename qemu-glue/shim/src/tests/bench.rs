//! A made-up QEMU with two RAM blocks, an engine in it, and the host's hands in the shared file.
#![expect(unsafe_code, reason = "descriptors and addresses of the shared file")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use page_number::PAGE_BYTES;
use shim_abi::{
    BLOCKS_AT, BlockEntry, CONFIRMED_AT, ControlPage, LibraryState, REDIRTIED_AT, REDIRTY_AT,
    RUNS_AT, RefusalReason, RunEntry,
};

use crate::control::Shared;
use crate::engine::{Engine, reason};
use crate::hypervisor::{Hypervisor, RamBlock};

/// Pages of each block.
pub(crate) const BLOCK_PAGES: u64 = 4096;

/// Block and page number in it.
pub(crate) type Page = (usize, u64);

/// What QEMU would do.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) stopped: Cell<bool>,
    pub(crate) clash: Cell<Option<u64>>,
    pub(crate) blocks: RefCell<Vec<(&'static CStr, RamBlock)>>,
    pub(crate) hinted: RefCell<BTreeSet<Page>>,
    /// With repetitions.
    pub(crate) dirty: RefCell<Vec<Page>>,
    time: Cell<u64>,
}

struct MadeUp(Rc<Record>);

impl Record {
    fn pages(&self, block: &RamBlock, offset: u64, bytes: u64) -> impl Iterator<Item = Page> {
        let index = self.blocks.borrow().iter().position(|(_, own)| own.host == block.host);
        assert!(offset + bytes <= block.length && bytes > 0, "beyond the block");
        let index = index.unwrap();
        (offset / PAGE_BYTES..(offset + bytes) / PAGE_BYTES).map(move |page| (index, page))
    }
}

impl Hypervisor for MadeUp {
    fn clash(&self) -> Option<u64> {
        self.0.clash.get()
    }

    fn is_running(&self) -> bool {
        !self.0.stopped.get()
    }

    fn block(&self, name: &CStr) -> Option<RamBlock> {
        self.0.blocks.borrow().iter().find(|(own, _)| *own == name).map(|(_, block)| *block)
    }

    fn hint(&self, block: &RamBlock, offset: u64, bytes: u64) {
        for page in self.0.pages(block, offset, bytes) {
            assert!(self.0.hinted.borrow_mut().insert(page), "hinted twice: {page:?}");
        }
    }

    fn mark_dirty(&self, block: &RamBlock, offset: u64, bytes: u64) {
        self.0.dirty.borrow_mut().extend(self.0.pages(block, offset, bytes));
    }

    fn now(&self) -> u64 {
        self.0.time.set(self.0.time.get() + 1);
        self.0.time.get()
    }
}

/// All of it.
pub(crate) struct Bench {
    engine: Engine<MadeUp>,
    pub(crate) qemu: Rc<Record>,
    pub(crate) control: &'static ControlPage,
    file: File,
    /// Locked as long as the host's program lives.
    driver: Option<File>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let shared = Shared::create().unwrap();
        // SAFETY: the engine keeps it open.
        let file = unsafe { BorrowedFd::borrow_raw(shared.file) }.try_clone_to_owned().unwrap();
        let qemu = Rc::new(Record::default());
        for (index, name) in [c"mem0", c"mem1"].into_iter().enumerate() {
            let block = RamBlock {
                host: ptr::without_provenance_mut((index + 1) << 32),
                length: BLOCK_PAGES * PAGE_BYTES,
                page_bytes: PAGE_BYTES,
                shared: true,
                migratable: true,
            };
            qemu.blocks.borrow_mut().push((name, block));
        }
        let control = shared.control;
        let engine = Engine::new(MadeUp(Rc::clone(&qemu)), shared);
        let file = File::from(file);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let driver = File::options().read(true).write(true).open(path).unwrap();
        driver.try_lock().unwrap();
        Self { engine, qemu, control, file, driver: Some(driver) }
    }

    /// Arms runs of (block, first page in the block, pages), numbered in this order.
    pub(crate) fn arm(&self, runs: &[(u32, u64, u32)]) {
        let mut first = 0;
        let runs: Vec<RunEntry> = runs
            .iter()
            .map(|(block, page, pages)| {
                first += pages;
                let (offset, first) = (page * PAGE_BYTES, first - pages);
                RunEntry { offset, first, pages: *pages, block: *block, reserved: 0 }
            })
            .collect();
        self.arm_table(&["mem0", "mem1"], &runs, first);
    }

    /// Arms a table as it is.
    pub(crate) fn arm_table(&self, names: &[&str], runs: &[RunEntry], pages: u32) {
        for (index, name) in names.iter().enumerate() {
            let mut bytes = [0; size_of::<BlockEntry>()];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            bytes[256..].copy_from_slice(&(BLOCK_PAGES * PAGE_BYTES).to_ne_bytes());
            self.write(BLOCKS_AT + index * bytes.len(), &bytes);
        }
        for (index, run) in runs.iter().enumerate() {
            let mut bytes = run.offset.to_ne_bytes().to_vec();
            for number in [run.first, run.pages, run.block, run.reserved] {
                bytes.extend(number.to_ne_bytes());
            }
            self.write(RUNS_AT + index * bytes.len(), &bytes);
        }
        self.control.blocks.store(names.len() as u32, Relaxed);
        self.control.runs.store(runs.len() as u32, Relaxed);
        self.control.pages.store(pages, Relaxed);
        for bitmap in [CONFIRMED_AT, REDIRTY_AT, REDIRTIED_AT] {
            self.write(bitmap, &vec![0; pages.div_ceil(64) as usize * 8]);
        }
        self.control.armed.store(self.control.taken.load(Relaxed) + 1, Release);
    }

    /// Pages that are reported to the host as re-dirtied.
    pub(crate) fn reported(&self, pages: u32) -> Vec<u32> {
        let mut bytes = vec![0; pages.div_ceil(8) as usize];
        self.file.read_exact_at(&mut bytes, REDIRTIED_AT as u64).unwrap();
        (0..pages).filter(|page| bytes[*page as usize / 8] >> (page % 8) & 1 == 1).collect()
    }

    pub(crate) fn confirm(&self, page: u32) {
        self.set_bit(CONFIRMED_AT, page);
    }

    pub(crate) fn redirty(&self, page: u32) {
        self.set_bit(REDIRTY_AT, page);
        self.control.redirty_requested.fetch_add(1, Release);
    }

    /// The host's program is gone, as after `kill -9`.
    pub(crate) fn kill_driver(&mut self) {
        self.driver = None;
    }

    /// A whole sync.
    pub(crate) fn sync(&mut self) {
        self.engine.notified(reason::BEFORE_BITMAP_SYNC);
        self.engine.notified(reason::AFTER_BITMAP_SYNC);
    }

    /// The last sync, with the VM stopped, and the clean-up.
    pub(crate) fn finish(&mut self) {
        self.qemu.stopped.set(true);
        self.sync();
        self.clean_up();
    }

    pub(crate) fn clean_up(&mut self) {
        self.engine.notified(reason::CLEANUP);
    }

    /// Reasons that mean nothing to the engine.
    pub(crate) fn notify(&mut self, reason: i32) {
        self.engine.notified(reason);
    }

    pub(crate) fn state(&self) -> LibraryState {
        LibraryState::from_u32(self.control.state.load(Relaxed)).unwrap()
    }

    pub(crate) fn reason(&self) -> Option<RefusalReason> {
        let detail = [self.control.detail[0].load(Relaxed), self.control.detail[1].load(Relaxed)];
        RefusalReason::from_code(self.control.reason.load(Relaxed), detail)
    }

    pub(crate) fn hinted(&self) -> Vec<Page> {
        self.qemu.hinted.borrow().iter().copied().collect()
    }

    /// What was marked since the last call, in order.
    pub(crate) fn marked(&self) -> Vec<Page> {
        let mut marked = self.qemu.dirty.take();
        marked.sort_unstable();
        marked
    }

    fn set_bit(&self, bitmap: usize, page: u32) {
        let place = bitmap + page as usize / 8;
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, place as u64).unwrap();
        self.write(place, &[byte[0] | 1 << (page % 8)]);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset as u64).unwrap();
    }
}
