//! Bytes on the channel between the hosts, from their first; and what both ends make of the messages.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use qemu_glue::channel::{self, MAX_WARNINGS, MAX_SECONDS, Message, Offer, Security};
use qemu_glue::set::{SetRun, SkipSet};

/// Longest text in bytes, whatever was sent.
const HELD_BYTES: usize = 4096;
/// Runs that are kept: a receiver keeps no more than its VM has pages.
const RUNS: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
        let Ok((_, mut receiver)) = channel::accept(stream, &Security::Plain).await else { return };
        let (mut offer, mut runs) = (None, Vec::new());
        // It ends: each message takes bytes, and their end is an error.
        while let Ok(message) = receiver.receive().await {
            receive(message, &mut offer, &mut runs);
        }
    });
});

/// What is received stays within its bounds, whatever it is.
fn receive(message: Message, offer: &mut Option<Offer>, runs: &mut Vec<SetRun>) {
    let short = |raw: &str| assert!(raw.len() <= HELD_BYTES);
    match message {
        Message::Hello(hello) => [hello.program, hello.qemu, hello.migration].iter().for_each(|text| short(text.raw())),
        Message::Offer(offered) => *offer = Some(offered),
        Message::Runs(more) if runs.len() + more.len() <= RUNS => runs.extend(more),
        Message::OfferEnd => {
            let Some(Offer { blocks, devices, .. }) = offer.take() else { return };
            if let Ok(set) = SkipSet::new(blocks, devices.iter().map(|name| name.raw().to_owned()).collect(), std::mem::take(runs)) {
                let pages: u32 = set.pieces(0..set.pages()).map(|(_, run)| run.pages).sum();
                assert_eq!(pages, set.pages());
            }
        }
        Message::Ready(ready) => ready.devices_left_out.iter().for_each(|(_, reason)| short(reason.raw())),
        Message::Refused(refused) => [refused.reason, refused.hint].iter().for_each(|text| short(text.raw())),
        Message::Finish(finish) => {
            short(finish.status.raw());
            assert!((0.0..=1e10).contains(&finish.begun_unix_s));
        }
        Message::Finished(finished) => {
            assert!(finished.warnings.len() <= MAX_WARNINGS && finished.cpu_s.is_finite());
            finished.warnings.iter().for_each(|text| short(text.raw()));
            let Some(side) = finished.probes else { return };
            let times = [side.vm_stop_s, side.vm_start_s, side.ended_s];
            assert!(times.into_iter().flatten().all(|time| time.abs() <= MAX_SECONDS));
        }
        _ => {}
    }
}
