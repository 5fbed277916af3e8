//! The invariant: once the VM has stopped, every hinted page is confirmed or re-dirtied.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::Bench;

/// What the host does between two syncs.
#[derive(Debug, Clone)]
enum Step {
    Confirm(u32),
    Redirty(u32),
    Sync,
    /// Somebody stops the VM for a sync and lets it go on.
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..200).prop_map(Step::Confirm),
        3 => (0_u32..200).prop_map(Step::Redirty),
        2 => Just(Step::Sync),
        1 => Just(Step::Pause),
    ]
}

proptest! {
    #[test]
    fn every_page_is_confirmed_or_redirtied(
        lengths in prop::collection::vec((0_u64..5, 1_u32..70), 1..12),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut bench = Bench::new();
        let mut at = 256;
        let runs: Vec<_> = lengths
            .into_iter()
            .map(|(gap, pages)| {
                let run = (0, at + gap, pages);
                at += gap + u64::from(pages);
                run
            })
            .collect();
        let page_of: Vec<u64> = runs
            .iter()
            .flat_map(|(_, page, pages)| *page..page + u64::from(*pages))
            .collect();
        let count = page_of.len() as u32;
        bench.arm(&runs);
        bench.sync();
        prop_assert_eq!(bench.hinted().len(), page_of.len());
        let (mut confirmed, mut requested, mut back) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut redirtied = |bench: &Bench, wanted: &BTreeSet<u32>| {
            let new: BTreeSet<u32> = wanted.difference(&back).copied().collect();
            let pages: Vec<_> = new.iter().map(|page| (0, page_of[*page as usize])).collect();
            back.extend(new);
            prop_assert_eq!(bench.marked(), pages);
            prop_assert_eq!(bench.reported(count), back.iter().copied().collect::<Vec<_>>());
            Ok(back.len() as u64)
        };
        for step in steps {
            match step {
                Step::Confirm(page) if page < count => {
                    bench.confirm(page);
                    confirmed.insert(page);
                }
                Step::Redirty(page) if page < count => {
                    bench.redirty(page);
                    requested.insert(page);
                }
                Step::Sync => {
                    bench.sync();
                    redirtied(&bench, &requested)?;
                }
                Step::Pause => {
                    bench.qemu.stopped.set(true);
                    bench.sync();
                    bench.qemu.stopped.set(false);
                    let left = (0..count).filter(|page| !confirmed.contains(page));
                    redirtied(&bench, &left.chain(requested.iter().copied()).collect())?;
                }
                Step::Confirm(_) | Step::Redirty(_) => {}
            }
        }
        bench.finish();
        let left = (0..count).filter(|page| !confirmed.contains(page));
        let total = redirtied(&bench, &left.chain(requested.iter().copied()).collect())?;
        let reported = [&bench.control.redirtied_requested, &bench.control.redirtied_unconfirmed];
        prop_assert_eq!(reported.map(|figure| figure.load(Relaxed)).iter().sum::<u64>(), total);
    }
}
