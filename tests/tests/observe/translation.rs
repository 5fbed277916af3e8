//! Frames by two ways, and the two forms of the list.

use std::collections::{BTreeMap, BTreeSet};

use page_wire::{Bounds, Device, List};
use test_servers::{Config, Release, Server};
use userspace::frames::{FRAME_BYTES, Frame, Pagemap, Walk};
use userspace::locate::Locator;
use userspace::observer::Observer;

use crate::agent::Agent;
use crate::lab::{observe, on_each_mysql, open, warm};
use crate::listed::{Listed, eligible, list, parse};

/// Tries to see a list twice with no frame moved by the kernel between.
const LOOKS: usize = 20;

/// The page-table walk and the pagemap give the same frame for every page of the pool.
fn walk_and_pagemap_agree_on_the_whole_pool(release: Release) {
    let server = warm(release, Config::new().pool_mib(128));
    let observed = open(&server);
    let mut walk = Walk::open(server.pid()).unwrap();
    let mut pagemap = Pagemap::open(server.pid()).unwrap();
    let (mut present, mut moved, mut all) = (0, 0, 0);
    for chunk in &observed.pool_map.chunks {
        let bytes = u64::from(chunk.blocks) * u64::from(observed.pool_map.page_size);
        let count = usize::try_from(bytes / FRAME_BYTES).unwrap();
        let [mut before, mut by_walk, mut after] = [(); 3].map(|()| vec![Frame::ABSENT; count]);
        pagemap.translate(chunk.frames, &mut before).unwrap();
        walk.translate(chunk.frames, &mut by_walk).unwrap();
        pagemap.translate(chunk.frames, &mut after).unwrap();
        for index in 0..count {
            // The kernel may move a frame between two looks.
            if before[index] == after[index] {
                assert_eq!(by_walk[index], before[index], "page {index} of {chunk:?}");
                present += usize::from(before[index] != Frame::ABSENT);
            } else {
                moved += 1;
            }
        }
        all += count;
    }
    println!("{present} of {all} pages present, {moved} moved");
    assert!(present > 4 * 2000 && moved * 100 <= all, "{present} present, {moved} moved of {all}");
}

/// What one frame of the list says: guest-physical address, disk by its name, offset there.
type Entry = (u64, String, u64);

fn decode(bytes: &[u8]) -> (BTreeSet<Entry>, u64) {
    let list = List::parse(bytes, Bounds::ANY).unwrap();
    let devices: Vec<Device> = list.devices().to_vec();
    let mut entries = BTreeSet::new();
    let mut frames = 0;
    for run in list.runs() {
        for index in 0..u64::from(run.frames()) {
            let device = devices[usize::from(run.device())].name().to_owned();
            let offset = (run.unit() << page_number::UNIT_SHIFT) + index * FRAME_BYTES;
            entries.insert(((run.gfn() + index) * FRAME_BYTES, device, offset));
            frames += 1;
        }
    }
    assert_eq!(frames, entries.len(), "a frame is listed twice");
    let per_page = u64::from(list.facts().page_size) / FRAME_BYTES;
    assert_eq!(list.facts().pages * per_page, frames as u64);
    (entries, list.facts().pages)
}

fn expand(rows: &[Listed], names: &BTreeMap<String, String>) -> BTreeSet<Entry> {
    let mut entries = BTreeSet::new();
    for row in eligible(rows) {
        let mut gpas = row.gpas.iter();
        for range in &row.disk {
            for at in (0..range.len).step_by(4096) {
                let gpa = gpas.next().unwrap().unwrap();
                entries.insert((gpa, names[&range.device].clone(), range.offset + at));
            }
        }
        assert_eq!(gpas.next(), None, "{row:?}");
    }
    entries
}

/// The name by which the host knows each disk, by device number.
fn disk_names(server: &Server, rows: &[Listed], devices: &[Device]) -> BTreeMap<String, String> {
    let mut locator = Locator::open(server.pid()).unwrap();
    for row in eligible(rows).take(1) {
        use userspace::locate::{PageNo, SpaceId};
        let (space, page) = row.id().unwrap();
        let place = locator.locate(SpaceId(space), PageNo(page)).unwrap();
        locator.location(place).unwrap();
    }
    let disks: Vec<_> = locator.disks().collect();
    assert_eq!((disks.len(), devices.len()), (1, 1), "the data directory lies on one disk");
    [(disks[0].device.to_string(), devices[0].name().to_owned())].into()
}

/// Compares a binary list with rows made just before and after it.
fn assert_same_list(
    server: &Server,
    mut rows: impl FnMut() -> Vec<Listed>,
    mut binary: impl FnMut() -> Vec<u8>,
) {
    for _ in 0..LOOKS {
        let before = rows();
        let bytes = binary();
        let after = rows();
        if before != after {
            continue;
        }
        let devices: Vec<Device> = List::parse(&bytes, Bounds::ANY).unwrap().devices().to_vec();
        let names = disk_names(server, &after, &devices);
        let (decoded, pages) = decode(&bytes);
        let expected = expand(&after, &names);
        let difference: Vec<_> = decoded.symmetric_difference(&expected).take(5).collect();
        assert!(difference.is_empty(), "{difference:?}");
        println!("{pages} pages in {} bytes", bytes.len());
        assert!(pages > 2000, "only {pages} pages listed");
        return;
    }
    panic!("the list never stands still");
}

/// `poolferry pages`, both forms.
fn the_programs_binary_list_is_its_rows(release: Release) {
    let Some(agent) = Agent::find("the_programs_binary_list_is_its_rows") else { return };
    let server = warm(release, Config::new().pool_mib(96));
    let pages = |format: &str| {
        let pid = server.pid().to_string();
        let output = agent.run(&["pages", "--pid", &pid, "--format", format]);
        output.stdout
    };
    let rows = || parse(std::str::from_utf8(&pages("jsonl")).unwrap());
    assert_same_list(&server, rows, || pages("bin"));
}

/// The list that the agent makes while its probes are set.
fn the_observers_binary_list_is_its_rows(release: Release) {
    let server = warm(release, Config::new().pool_mib(96));
    let observer = std::cell::RefCell::new(observe(&server));
    let rows = || {
        let observer: std::cell::Ref<'_, Observer> = observer.borrow();
        list(observer.server(), Some(observer.residency()))
    };
    let binary = || {
        let mut bytes = Vec::new();
        observer.borrow_mut().page_list().unwrap().write(&mut bytes).unwrap();
        bytes
    };
    assert_same_list(&server, rows, binary);
}

on_each_mysql!(
    walk_and_pagemap_agree_on_the_whole_pool,
    the_programs_binary_list_is_its_rows,
    the_observers_binary_list_is_its_rows,
);
