//! One list's runs of several lists'.

use crate::{RUN_BYTES, Run};

/// The runs of one of the lists: how many there are, and the number that each of its devices has in the list of all.
pub struct Part<'a> {
    /// Number of runs.
    pub runs: usize,
    /// Number in the list of all, by number in its own.
    pub devices: &'a [u16],
}

/// Gives the runs of `parts`, which follow each other in `bytes` as their lists have written them, the devices and the
/// order of the list of all. A run of a device that its part does not have stays as it is.
///
/// Their order is that of a few sorted stretches, which the sort merges. Runs of different lists are not joined: their
/// frames are different servers' and hardly ever follow each other.
pub fn unite(bytes: &mut [u8], parts: &[Part<'_>]) {
    let (runs, _) = bytes.as_chunks_mut::<RUN_BYTES>();
    let mut rest = &mut *runs;
    let mut is_sorted = true;
    let mut last = None;
    for part in parts {
        let (own, after) = rest.split_at_mut(part.runs.min(rest.len()));
        for bytes in own {
            let run = Run::from_bytes(bytes);
            let device = part.devices.get(usize::from(run.device())).copied();
            let run = run.on(device.unwrap_or_else(|| run.device()));
            *bytes = run.to_bytes();
            is_sorted &= last.is_none_or(|last| last <= run);
            last = Some(run);
        }
        rest = after;
    }
    if !is_sorted {
        runs.sort_by_key(Run::from_bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_if_all_had_been_one_list(
            lists in proptest::collection::vec(
                (proptest::collection::vec((0u64..500, 0u16..3, 0u64..500), 0..40), 0usize..6),
                0..5,
            ),
        ) {
            // Every way to give three devices different numbers of six.
            let maps = [[0, 1, 2], [2, 1, 0], [3, 4, 5], [5, 0, 3], [1, 2, 0], [4, 2, 1]];
            let (mut bytes, mut parts, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
            for (pages, map) in &lists {
                let devices = &maps[*map];
                let run = |&(gfn, device, unit)| Run::new(gfn, 2, device, unit).unwrap();
                let mut runs: Vec<Run> = pages.iter().map(run).collect();
                runs.sort_unstable();
                bytes.extend(runs.iter().flat_map(|run| run.to_bytes()));
                parts.push(Part { runs: runs.len(), devices });
                wanted.extend(runs.iter().map(|run| {
                    let device = devices[usize::from(run.device())];
                    Run::new(run.gfn(), run.frames(), device, run.unit()).unwrap()
                }));
            }
            unite(&mut bytes, &parts);
            wanted.sort_unstable();
            let found: Vec<Run> = bytes.as_chunks().0.iter().map(Run::from_bytes).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
