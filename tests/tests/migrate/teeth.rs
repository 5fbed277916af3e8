//! The comparison of RAM must fail where a page is missing; otherwise its silence proves nothing.

use std::fs::{self, File};

use anyhow::{Context as _, Result};
use lab::ferry::Ferry;
use lab::hop::{Attempt, Mode};
use lab::laboratory::Laboratory;
use lab::vm::Machine;
use lab::workload::Workload;
use rustix::fs::{FallocateFlags, fallocate};

use crate::shared::{Needs, folder, run};

const PAGE: u64 = 4096;

/// Takes one page with content away from the guest's memory, as if it had never been restored.
fn forget_one_page(machine: &mut Machine) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let fds = fs::read_dir(format!("/proc/{}/fd", machine.pid()))?;
    let path = fds
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let target = fs::read_link(path).unwrap_or_default();
            target.to_string_lossy().starts_with("/memfd:memory-backend-memfd")
        })
        .context("no memory file")?;
    let memory = File::options().read(true).write(true).open(path)?;
    let pages = memory.metadata()?.len() / PAGE;
    let mut page = [0; PAGE as usize];
    // From the middle of the memory on, where the buffer pool lies among others.
    for number in pages / 2..pages {
        memory.read_exact_at(&mut page, number * PAGE)?;
        if page.iter().any(|byte| *byte != 0) {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            return Ok(fallocate(&memory, hole, number * PAGE, PAGE)?);
        }
    }
    anyhow::bail!("all pages are empty")
}

fn one_page_is_missed(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let mut ferry = Ferry { tamper: Some(Box::new(forget_one_page)), ..Ferry::plain() };
    let folder = folder(lab);
    let Attempt::Arrived(hop) = lab.attempt(Mode::Poolferry, &folder, &mut ferry)? else {
        anyhow::bail!("the VM did not arrive")
    };
    assert_eq!(hop.identity.differing_pages, 1, "{:?}", hop.identity);
    assert!(hop.identity.differing_bytes > 0);
    Ok(())
}

#[test]
fn a_page_that_was_not_restored_is_found() {
    // The VM that lost a page must serve no other test.
    run("teeth::a_page_that_was_not_restored_is_found", Needs::Poolferry, |lab| {
        one_page_is_missed(lab)?;
        crate::shared::renew(lab)
    });
}
