//! A thousand hostile destinations against all of the source but its QEMU.

use std::fs;
use std::time::{Duration, Instant};

use fixedbitset::FixedBitSet;
use page_number::PAGE_BYTES;
use tempfile::TempDir;
use tokio::io::duplex;
use tokio::time::timeout;

use crate::channel::{Finish, Key, PeerHello, Security, SetRange, VERSION};
use crate::hostile::{self, BLOCK, DEVICE, PAGES, Role};
use crate::set::{Block, SetRun, SkipSet};
use crate::source::controller::{Ledger, PeerState, Settled};
use crate::source::error::MigrateError;
use crate::source::peer::channel::PeerChannel;
use crate::source::peer::negotiation::negotiate;
use crate::source::planning::preflight::Checked;
use crate::usage;

const SESSIONS: u64 = 1000;
/// One of them is over by then, whatever the peer does.
const OVER: Duration = Duration::from_secs(20);
const MEMORY: u64 = 64 << 20;

fn set() -> SkipSet {
    let length = u64::from(PAGES) * PAGE_BYTES;
    let block = Block { name: BLOCK.to_owned(), length };
    let run = SetRun { block: 0, device: 0, pages: PAGES, offset: 0, place: 0 };
    SkipSet::new(vec![block], vec![DEVICE.to_owned()], vec![run]).unwrap()
}

/// Offers, and receives answers to the hashes of all pages until the other goes; gives how many it settled.
async fn migrate(link: PeerChannel, set: &SkipSet) -> Result<u64, MigrateError> {
    let hello = PeerHello {
        version: VERSION,
        program: "0.1.0".into(),
        qemu: "10.0.2".into(),
        migration: "m-1".into(),
    };
    let (mut link, agreed) =
        negotiate(link, "there", hello, &Checked::default(), true, set).await?;
    assert!(agreed.uri.starts_with("tcp:") && agreed.devices_left_out.len() <= 64);
    let (mut peer, mut ledger) = (PeerState::new(PAGES, OVER, Instant::now()), Ledger::new(PAGES));
    ledger.hash_sent(SetRange { first: 0, count: PAGES });
    let mut is_troubled = false;
    let mut once = FixedBitSet::with_capacity(PAGES as usize);
    while let Some(Ok(message)) = link.incoming.recv().await {
        let mut settled = Vec::new();
        let trouble = peer.receive(message, &mut ledger, &mut settled);
        for settled in settled {
            let (Settled::Installed(ranges) | Settled::NotInstalled(_, ranges)) = settled;
            for page in ranges.iter().flat_map(|range| range.first..range.first + range.count) {
                assert!(!once.put(page as usize), "page {page} is settled twice");
            }
        }
        is_troubled = trouble.is_err();
        if is_troubled {
            break;
        }
    }
    let settled = once.count_ones(..) as u64;
    assert_eq!(ledger.outstanding(), u64::from(PAGES) - settled, "each page is accounted for");
    let progress = *peer.progress();
    assert_eq!(progress, progress.within(PAGES.into()));
    // Else it has gone, as the driver would know.
    if !is_troubled {
        return Ok(settled);
    }
    let finish = Finish { status: "completed".into(), reason: None, begun_unix_s: 1.5 };
    link.finish(finish).await;
    Ok(settled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hostile_destinations_do_no_harm() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    Key::make(&path).unwrap();
    let bytes: [u8; 32] = fs::read(&path).unwrap().try_into().unwrap();
    let key = Security::Key(Key::read(&path).unwrap());
    let set = set();
    let before = usage::peak_bytes().and_then(|_| usage::peak_bytes());
    let (mut agreed, mut not, mut settled) = (0, 0, 0);
    for number in 0..SESSIONS {
        let session = hostile::session(number, Role::Destination, VERSION);
        let (security, has) = match number % 3 {
            0 => (Security::Plain, None),
            1 => (key.clone(), Some(bytes)),
            _ if number % 7 == 0 => (key.clone(), Some([1; 32])),
            _ => (key.clone(), Some(bytes)),
        };
        let (near, far) = duplex(1 << 16);
        let hostile = tokio::spawn(async move { hostile::play(&session, far, has.as_ref()).await });
        let met = async { migrate(PeerChannel::open(near, "there", &security).await?, &set).await };
        let met = timeout(OVER, met).await;
        match met.unwrap_or_else(|_| panic!("session {number} does not end")) {
            Ok(pages) => {
                agreed += 1;
                settled += pages;
            }
            Err(_) => not += 1,
        }
        hostile.abort();
    }
    println!("{agreed} agreed and settled {settled} pages, {not} did not agree");
    assert!(agreed > 100 && settled > 1000 && not > 100, "not what was to be tried");
    if let (Some(before), Some(after)) = (before, usage::peak_bytes()) {
        println!("{} KiB more at the peak", after.saturating_sub(before) >> 10);
        assert!(after.saturating_sub(before) < MEMORY, "{before} and then {after} bytes");
    }
}
