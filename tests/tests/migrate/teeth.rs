//! The comparison of RAM must find a page that was not restored; otherwise its silence proves nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, bail, ensure};
use lab::identity;
use lab::laboratory::Laboratory;
use lab::migration::Migration;
use lab::vm::Machine;
use lab::workload::Workload;
use rustix::fs::{FallocateFlags, fallocate};

use crate::shared::{Needs, arrives, run};

const PAGE: u64 = page_number::PAGE_BYTES;
const PAGE_LENGTH: usize = page_number::PAGE_LEN;

/// The guest's memory at a host.
fn memory(machine: &Machine) -> Result<File> {
    let fds = fs::read_dir(format!("/proc/{}/fd", machine.pid()))?;
    let path = fds.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let target = fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().starts_with("/memfd:memory-backend-memfd")
    });
    Ok(File::options().read(true).write(true).open(path.context("no memory file")?)?)
}

/// Takes one page with content away at the destination, as if it had never been restored; compares; puts it back.
fn forget_one_page(source: &mut Machine, destination: &mut Machine) -> Result<()> {
    let memory = memory(destination)?;
    let pages = memory.metadata()?.len() / PAGE;
    let mut page = [0; PAGE_LENGTH];
    // From the middle of the memory on, where the buffer pool lies among others.
    for number in pages / 2..pages {
        memory.read_exact_at(&mut page, number * PAGE)?;
        if page == [0; PAGE_LENGTH] {
            continue;
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&memory, hole, number * PAGE, PAGE)?;
        let found = identity::compare(source, destination);
        memory.write_all_at(&page, number * PAGE)?;
        let found = found?;
        let bytes = page.iter().filter(|byte| **byte != 0).count();
        ensure!(
            (found.differing_pages, found.differing_bytes) == (1, bytes as u64),
            "a page with {bytes} bytes was taken away, and this was found: {found:?}"
        );
        ensure!(found.first == [("mem0".to_owned(), number * PAGE)], "{found:?}");
        return Ok(());
    }
    bail!("all pages are empty")
}

fn one_page_is_missed(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    arrives(lab, Migration { tamper: Some(Box::new(forget_one_page)), ..Migration::plain() })?;
    Ok(())
}

#[test]
fn a_page_that_was_not_restored_is_found() {
    let name = "teeth::a_page_that_was_not_restored_is_found";
    run(name, Needs::Poolferry, one_page_is_missed);
}
