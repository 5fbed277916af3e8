//! Honest lists and lists that lie, against RAM of our own.

use page_wire::{Bounds, Facts, Run, encode};
use proptest::prelude::*;

use super::*;
use crate::storage::Address;

const MIB: u64 = 1 << 20;

fn ram() -> GuestRam {
    let file = |bytes| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        file
    };
    GuestRam::of_files(vec![
        ("mem0".into(), file(4 * MIB), 4 * MIB),
        ("mem1".into(), file(2 * MIB), 2 * MIB),
    ])
}

fn disk(serial: &str, bytes: u64) -> Disk {
    Disk {
        device: "d".into(),
        names: vec![format!("serial:{serial}")],
        pci: None,
        node: "n".into(),
        backing: Ok(Address::File("/a".into()).into()),
        direct: true,
        bytes,
    }
}

fn planned(devices: &[Device], runs: Vec<Run>) -> Plan {
    planned_on(&[disk("a", 64 * MIB), disk("b", 0)], devices, runs)
}

fn planned_on(disks: &[Disk], devices: &[Device], mut runs: Vec<Run>) -> Plan {
    runs.sort_unstable();
    let mut bytes = Vec::new();
    let count = runs.len() as u64;
    encode(&mut bytes, &Facts::default(), devices, count, runs.into_iter()).unwrap();
    let list = List::parse(&bytes, Bounds::ANY).unwrap();
    plan(&list, &ram(), disks, &[]).unwrap()
}

fn devices() -> Vec<Device> {
    vec![
        Device::Disk("serial:a".into()),
        Device::Disk("serial:strange".into()),
        Device::ShareFile("nfs:host:/x".into()),
    ]
}

fn run(gfn: u64, frames: u32, device: u16, unit: u64) -> Run {
    Run::new(gfn, frames, device, unit).unwrap()
}

#[test]
fn zero_pages_come_first_and_leave_listed_ones_alone() {
    let mut bytes = Vec::new();
    let runs = [run(300, 4, 0, 800), run(0, 4, 0, 64)];
    encode(&mut bytes, &Facts::default(), &devices(), 2, runs.into_iter().rev()).unwrap();
    let list = List::parse(&bytes, Bounds::ANY).unwrap();
    let zeros =
        [Stretch { block: 0, first: 200, pages: 103 }, Stretch { block: 1, first: 0, pages: 9 }];
    let plan = plan(&list, &ram(), &[disk("a", 64 * MIB)], &zeros).unwrap();
    let place = |run: &SetRun| (run.block, run.offset / PAGE_BYTES, run.pages);
    let runs: Vec<_> = plan.set.runs().iter().map(place).collect();
    // Pages that keep QEMU from the switchover are never in a set, whoever names them.
    assert_eq!(runs, [(0, 256, 44), (1, 0, 9), (0, 300, 4)]);
    assert_eq!((plan.set.zero_pages(), plan.listed), (53, 8));
    assert_eq!(plan.set.devices().last().unwrap(), ZERO_DEVICE);
}

#[test]
fn an_honest_list_becomes_the_set_as_it_is() {
    let plan =
        planned(&devices(), vec![run(600, 4, 0, 64), run(300, 2, 0, 800), run(1100, 8, 0, 0)]);
    assert!(plan.left_out.is_empty(), "{:?}", plan.left_out);
    assert_eq!((plan.listed, plan.set.pages()), (14, 14));
    let runs: Vec<_> =
        plan.set.runs().iter().map(|r| (r.block, r.offset, r.pages, r.place)).collect();
    assert_eq!(
        runs,
        [(1, 76 * 4096, 8, 0), (0, 600 * 4096, 4, 64 * 512), (0, 300 * 4096, 2, 800 * 512)]
    );
}

#[test]
fn each_lie_has_its_reason() {
    let runs = vec![
        run(0, 512, 0, 0),                       // the first MiB is not RAM to us
        run(500, 20, 0, 1 << 14),                // 12 of them a second time
        run(1 << 30, 1 << 20, 0, 1 << 15),       // nowhere
        run(700, 3, 1, 0),                       // no such disk
        run(800, 5, 2, 0),                       // a share
        run(900, 16, 0, ((64 * MIB) >> 9) - 64), // half beyond the disk
        run(1020, 8, 0, 1 << 16),                // over the seam of two blocks
    ];
    let plan = planned(&devices(), runs);
    // 16 of the 64 MiB lie before the run that is nowhere; what is beyond the disk is cut first.
    let nowhere_on_disk = 48 * MIB / 4096;
    let expected = BTreeMap::from([
        (LeftOut::NotRam, 256 + nowhere_on_disk),
        (LeftOut::BeyondDisk, (1 << 20) - nowhere_on_disk + 8),
        (LeftOut::Twice, 12),
        (LeftOut::UnknownDevice, 3),
        (LeftOut::ShareFile, 5),
    ]);
    assert_eq!(plan.left_out, expected);
    assert_eq!(plan.listed, u64::from(plan.set.pages()) + plan.left_out.values().sum::<u64>());
}

/// A disk has as many names as the guest likes to give it, and most of a list's devices may have no run.
#[test]
fn a_disk_is_one_device_whatever_it_is_called() {
    let disks = [Disk { pci: Some("0000:00:04.0".into()), ..disk("a", 64 * MIB) }, disk("b", 0)];
    let alias = |n: u32| Device::Disk(format!("path:{n}/0000:00:04.0/v"));
    let mut devices: Vec<Device> = (0..64).map(alias).collect();
    devices[7] = Device::Disk("serial:b".into());
    // The second run of the disk lies before its first one, and the last one has no page that is RAM.
    let runs = vec![run(300, 2, 5, 800), run(400, 2, 60, 64), run(500, 1, 7, 0), run(0, 1, 8, 0)];
    let plan = planned_on(&disks, &devices, runs);
    assert_eq!(plan.set.devices(), ["path:5/0000:00:04.0/v", "serial:b"]);
    let runs: Vec<_> = plan.set.runs().iter().map(|r| (r.device, r.pages, r.place / 512)).collect();
    assert_eq!(runs, [(0, 2, 800), (1, 1, 0), (0, 2, 64)]);
}

#[test]
fn devices_are_few_and_their_names_short() {
    let name = |n: usize| format!("{n:04}");
    let disks: Vec<Disk> = (0..64).map(|n| disk(&name(n), 0)).collect();
    let mut devices: Vec<Device> =
        (0..64).map(|n| Device::Disk(format!("serial:{}", name(n)))).collect();
    let runs = (0..64).map(|n| run(300 + u64::from(n), 1, n, 0)).collect();
    let plan = planned_on(&disks, &devices, runs);
    assert_eq!((plan.set.devices().len(), plan.set.pages()), (63, 63));
    assert_eq!(plan.left_out, BTreeMap::from([(LeftOut::OtherDevice, 1)]));

    let long = "x".repeat(300);
    devices[0] = Device::Disk(format!("serial:{long}"));
    let plan = planned_on(&[disk(&long, 0)], &devices, vec![run(300, 1, 0, 0)]);
    assert_eq!(plan.left_out, BTreeMap::from([(LeftOut::UnknownDevice, 1)]));
}

#[test]
fn a_list_that_repeats_itself_costs_no_more_than_the_ram() {
    // 20,000 runs that each cover all RAM: 30 million pages, of which 3,072 are looked at.
    let runs = (0..20_000).map(|unit| run(0, 1536, 0, unit)).collect();
    let plan = planned(&devices(), runs);
    assert_eq!(plan.set.pages(), 1536 - 256);
    assert!(plan.left_out[&LeftOut::TooMany] > 20_000_000);
}

proptest! {
    #[test]
    fn whatever_the_list_says_the_set_is_sound(
        runs in proptest::collection::vec(
            (0_u64..2048, 1_u32..700, 0_u16..3, 0_u64..200_000), 0..60),
    ) {
        let runs = runs.into_iter().map(|(gfn, frames, device, unit)| run(gfn, frames, device, unit));
        let plan = planned(&devices(), runs.collect());
        // `SkipSet::new` has checked bounds and overlap; here the count and the exclusions.
        let left: u64 = plan.left_out.values().sum();
        prop_assert_eq!(plan.listed, u64::from(plan.set.pages()) + left);
        for run in plan.set.runs() {
            prop_assert!(run.block != 0 || run.offset >= MIB);
                prop_assert!(run.device == 0 && run.place + run.bytes() <= 64 * MIB);
        }
    }
}
