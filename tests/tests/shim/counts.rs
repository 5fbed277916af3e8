//! What QEMU sends, page by page.

use qemu_glue::channel::SetRange;
use qemu_glue::shim::{SetState, Shim};
use serde_json::json;

use crate::guest::Busy;
use crate::lab::{Lab, on_each_qemu, wait_for};
use crate::migration::{begin, completes, differing_bytes, stock};
use crate::sets::{all, hinted, plain, restore, scattered};
use crate::vm::{Options, Vm};

/// A page of the filled memory and some after it, in the set of most tests.
const BUSY: Busy = Busy { first_page: 4096 + 100, pages: 300 };

/// QEMU sends as many pages less as the set has, and the destination has them all the same.
async fn hinted_pages_are_not_sent(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let destination = Vm::destination(lab).await;
    let set = scattered();
    restore(&set, &source, &destination);
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    armed.confirm(all(&set));
    assert_eq!(armed.outstanding(), 0);
    begin(lab, &source, &destination).await;
    let sent = completes(&source, &destination).await;
    assert_eq!(sent, expected - u64::from(set.pages()));
    assert_eq!(differing_bytes(&source, &destination), 0);
    let status = armed.status();
    assert_eq!((status.state, status.hinted), (SetState::Ended, u64::from(set.pages())));
    assert_eq!((status.redirtied_requested, status.redirtied_unconfirmed), (0, 0));
    assert!(status.hint_begun_ns < status.hint_returned_ns, "{status:?}");
    assert!(status.final_sync_ns > status.hint_returned_ns, "{status:?}");
    assert!(status.syncs >= 2, "{status:?}");
}

/// The oracle's teeth: what is confirmed without being restored is missing at the destination.
async fn a_page_confirmed_but_not_restored_is_found(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let destination = Vm::destination(lab).await;
    let set = plain();
    restore(&set, &source, &destination);
    let hole = [0; 4096];
    std::os::unix::fs::FileExt::write_all_at(&destination.memory, &hole, set.runs()[0].offset)
        .unwrap();
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    armed.confirm(all(&set));
    begin(lab, &source, &destination).await;
    completes(&source, &destination).await;
    let differing = differing_bytes(&source, &destination);
    assert!((1..=4096).contains(&differing), "{differing}");
}

/// Nobody answers: the library gives all of it back when the VM has stopped.
async fn unconfirmed_pages_are_redirtied(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let destination = Vm::destination(lab).await;
    let set = scattered();
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    begin(lab, &source, &destination).await;
    assert_eq!(completes(&source, &destination).await, expected);
    assert_eq!(differing_bytes(&source, &destination), 0);
    let status = armed.status();
    assert_eq!(status.redirtied_unconfirmed, u64::from(set.pages()));
    assert_eq!(armed.outstanding(), u64::from(set.pages()));
}

/// A guest that writes pages of the set, a host that asks for some and leaves others: all arrive.
async fn what_the_host_asks_for_is_sent_while_the_vm_runs(lab: &Lab) {
    let source = Vm::source(lab, Options { busy: BUSY, ..Options::default() }).await;
    let destination = Vm::destination(lab).await;
    let set = scattered();
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    armed.set_throttle(true);
    source.set_parameters(json!({"downtime-limit": 1, "max-bandwidth": 64 << 20})).await;
    begin(lab, &source, &destination).await;
    hinted(&armed).await;
    // Every other hundred, then one page twice and one beyond the set.
    for first in (0..set.pages()).step_by(200) {
        armed.redirty(SetRange { first, count: 100 });
    }
    armed.redirty(SetRange { first: 0, count: 1 });
    armed.redirty(SetRange { first: set.pages() - 1, count: u32::MAX });
    let left = armed.outstanding();
    let requested = u64::from(set.pages()) - left;
    wait_for("they are re-dirtied", async || armed.status().redirtied_requested == requested).await;
    assert!(source.runs().await);
    armed.set_throttle(false);
    source.set_parameters(json!({"downtime-limit": 300, "max-bandwidth": 1 << 30})).await;
    completes(&source, &destination).await;
    assert_eq!(armed.status().redirtied_unconfirmed, left);
    assert_eq!(differing_bytes(&source, &destination), 0);
}

on_each_qemu! {
    hinted_pages_are_not_sent,
    a_page_confirmed_but_not_restored_is_found,
    unconfirmed_pages_are_redirtied,
    what_the_host_asks_for_is_sent_while_the_vm_runs,
}
