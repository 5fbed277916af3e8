//! Writes page lists into a folder, for a fuzzer to begin with: `page_list_seeds DIR`.

mod hostile;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use page_wire::{Device, Facts, Run, encode};

/// Longest hostile list that is a seed: what is as long is slow to change.
const SEED_BYTES: usize = 1 << 14;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: page_list_seeds DIR")?);
    let facts = Facts { page_size: 16_384, pages: 3, begun_ns: 1_000, done_ns: 2_000 };
    let devices = [Device::Disk("serial:data".into()), Device::ShareFile("/mysql/t1.ibd".into())];
    // A page in one piece, one in two, and one on the share.
    let runs = [(0x100, 4, 0, 64), (0x300, 1, 0, 96), (0x200, 3, 0, 104), (0x400, 4, 1, 32)];
    let runs: Vec<Run> = runs
        .into_iter()
        .filter_map(|(gfn, frames, device, unit)| Run::new(gfn, frames, device, unit))
        .collect();
    for (name, devices, runs) in
        [("empty", &devices[..0], &runs[..0]), ("list", &devices[..], &runs[..])]
    {
        let mut bytes = Vec::new();
        encode(&mut bytes, &facts, devices, runs.len() as u64, runs.iter().copied())?;
        fs::write(folder.join(name), bytes)?;
    }
    for number in 0..1000 {
        let list = hostile::list(number);
        if list.len() <= SEED_BYTES {
            fs::write(folder.join(format!("hostile-{number}")), list)?;
        }
    }
    Ok(())
}
