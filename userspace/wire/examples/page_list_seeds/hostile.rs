//! Page lists as somebody would make them who wants to harm their reader: valid ones, with one or two fields changed.

use page_wire::{Device, Facts, HEADER_BYTES, MAX_NAME_BYTES, RUN_BYTES, Run, encode};

/// Numbers of the header: place, and length in bytes.
const NUMBERS: [(usize, usize); 11] = [
    (8, 2),  // version
    (10, 2), // length of the header
    (12, 2), // length of a run
    (14, 1), // frame size
    (15, 1), // disk unit
    (16, 4), // page size
    (20, 4), // number of devices
    (24, 8), // length of the devices table
    (32, 8), // number of runs
    (40, 8), // pages
    (48, 8), // begun
];
/// Ways to change a list: each number of the header, and those of `change`.
const WAYS: u64 = NUMBERS.len() as u64 + 12;

/// Marsaglia's xorshift: the same lists on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % sides.max(1)
    }

    /// Numbers at the edges of something, and any.
    fn number(&mut self, was: u64) -> u64 {
        let edge = 1_u64 << self.roll(64);
        match self.roll(9) {
            0 => 0,
            1 => u64::MAX,
            2 => was.wrapping_add(1),
            3 => was.wrapping_sub(1),
            4 => was.wrapping_add(8),
            5 => edge,
            6 => edge.wrapping_sub(1),
            7 => edge | was,
            _ => self.0,
        }
    }
}

/// The hostile list of this number; in the first ones every field is changed by itself.
pub(crate) fn list(number: u64) -> Vec<u8> {
    // Neighbours must not begin alike.
    let mut dice = Dice((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (devices, runs) = valid(&mut dice);
    let facts = Facts { page_size: 16_384, pages: runs.len() as u64, begun_ns: 7, done_ns: 8 };
    let mut bytes = Vec::new();
    // A valid list is written.
    let _ = encode(&mut bytes, &facts, &devices, runs.len() as u64, runs.into_iter());
    change(&mut bytes, number % WAYS, &mut dice);
    if number >= 2 * WAYS && dice.roll(2) == 0 {
        let way = dice.roll(64) as u64 % WAYS;
        change(&mut bytes, way, &mut dice);
    }
    bytes
}

fn valid(dice: &mut Dice) -> (Vec<Device>, Vec<Run>) {
    let devices: Vec<Device> = (0..1 + dice.roll(4))
        .map(|index| match dice.roll(4) {
            0 => Device::ShareFile(format!("nfs4:host:/db/{}.ibd", "t".repeat(dice.roll(40)))),
            1 => Device::Disk(format!("path:pci0000:00/0000:00:0{index}.0/virtio{index}")),
            _ => Device::Disk(format!("serial:{}", "d".repeat(index))),
        })
        .collect();
    let runs = (0..dice.roll(60)).filter_map(|_| {
        let frames = 1 + u32::try_from(dice.roll(9)).unwrap_or(0);
        let device = u16::try_from(dice.roll(devices.len())).unwrap_or(0);
        Run::new(dice.roll(1 << 16) as u64, frames, device, dice.roll(1 << 20) as u64 * 8)
    });
    let mut runs: Vec<Run> = runs.collect();
    runs.sort_unstable();
    (devices, runs)
}

fn change(bytes: &mut Vec<u8>, way: u64, dice: &mut Dice) {
    let way = usize::try_from(way).unwrap_or(0);
    if let Some(&(at, len)) = NUMBERS.get(way) {
        return number(bytes, at, len, dice);
    }
    let table = read(bytes, 24, 8).clamp(0, bytes.len() as u64);
    let runs = (HEADER_BYTES + usize::try_from(table).unwrap_or(0)).min(bytes.len());
    let run = runs + dice.roll(bytes.len().saturating_sub(runs) / RUN_BYTES) * RUN_BYTES;
    match way - NUMBERS.len() {
        0 => number(bytes, HEADER_BYTES, 2, dice), // kind of a device
        1 => number(bytes, HEADER_BYTES + 2, 2, dice), // length of its name
        2 => name(bytes, dice),
        3 => number(bytes, run, 8, dice),     // frames
        4 => number(bytes, run + 8, 8, dice), // place and device
        5 => swap(bytes, runs, run),
        6 => bytes.truncate(dice.roll(bytes.len() + 1)),
        7 => bytes.extend((0..dice.roll(64)).map(|byte| byte.to_le_bytes()[0])),
        8 => many_devices(bytes, runs, dice),
        9 => many_runs(bytes, runs, dice),
        10 => number(bytes, 0, 8, dice), // magic
        _ => number(bytes, 56, 8, dice), // done
    }
}

fn read(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(found) = bytes.get(at..at + len) {
        word[..len].copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

fn write(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    if let Some(place) = bytes.get_mut(at..at + len) {
        place.copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

fn number(bytes: &mut [u8], at: usize, len: usize, dice: &mut Dice) {
    let value = dice.number(read(bytes, at, len));
    write(bytes, at, len, value);
}

/// A byte of the first name that is no text, or ends or escapes something.
fn name(bytes: &mut [u8], dice: &mut Dice) {
    let odd = [0xff, 0x80, 0, 0x1b, b'\n', b':', b'/', 0xc3];
    write(bytes, HEADER_BYTES + 4 + dice.roll(8), 1, odd[dice.roll(odd.len())].into());
}

fn swap(bytes: &mut [u8], runs: usize, run: usize) {
    if run > runs && run + RUN_BYTES <= bytes.len() {
        let (before, after) = bytes.split_at_mut(run);
        before[run - RUN_BYTES..].swap_with_slice(&mut after[..RUN_BYTES]);
    }
}

/// Up to some 60,000 devices, or a few with very long names, in a table that is right in itself.
fn many_devices(bytes: &mut Vec<u8>, runs: usize, dice: &mut Dice) {
    let (count, name) = match dice.roll(3) {
        0 => (60 + dice.roll(8), 3),
        1 => (1 + dice.roll(60_000), dice.roll(8)),
        _ => (1 + dice.roll(3), MAX_NAME_BYTES - 2 + dice.roll(40_000)),
    };
    let mut table = Vec::new();
    for _ in 0..count {
        table.extend([0, 0]);
        table.extend(u16::try_from(name).unwrap_or(u16::MAX).to_le_bytes());
        table.resize(table.len() + name, b'x');
        table.resize(table.len().next_multiple_of(8), 0);
    }
    if runs >= HEADER_BYTES && runs <= bytes.len() {
        write(bytes, 20, 4, count as u64);
        write(bytes, 24, 8, table.len() as u64);
        bytes.splice(HEADER_BYTES..runs, table);
    }
}

/// The same run over and over, as often as the header states.
fn many_runs(bytes: &mut Vec<u8>, runs: usize, dice: &mut Dice) {
    let run = bytes.get(runs..runs + RUN_BYTES).map(<[u8]>::to_vec);
    let Some(run) = run else { return };
    let count = 1 + dice.roll(70_000);
    bytes.truncate(runs);
    (0..count).for_each(|_| bytes.extend(&run));
    write(bytes, 32, 8, count as u64);
}
