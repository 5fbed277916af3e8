//! A server whose events cannot be had is seen and listed all the same, at the price of a scan.

use symbols::profile::Missing;
use symbols::reason::UnresolvedReason;
use symbols::role::{Role, SiteRole};
use test_servers::Release;
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::observer::{ObserveOptions, Observer};
use userspace::page_list::build;

use crate::lab::{on_each_mysql, open, small, target};

/// Takes the sites of an event out of a server's profile, as of one that has none.
fn without(profile: &mut symbols::Profile, event: SiteRole) {
    profile.sites.remove(&event);
    profile.missing.push(Missing {
        role: Role::Site(event),
        name: event.name().to_owned(),
        required: false,
        reason: UnresolvedReason::InlinedAway,
    });
}

fn a_server_without_probe_sites_is_scanned(release: Release) {
    let server = small(release);
    let mut opened = open(&server);
    without(&mut opened.resolved.profile, SiteRole::PageDirty);
    let mut observer = Observer::on(opened, ObserveOptions::default()).unwrap();
    assert_eq!(observer.probes().sites(), 0, "some events would be no truth");
    let snapshot = observer.snapshot().unwrap();
    let said: Vec<_> = snapshot.notices.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|notice| notice.contains("scanned only: no probe for page_dirty")));
    let totals = snapshot.totals;
    assert!(totals.clean > 100, "{totals:?}");
    assert_eq!(observer.audit().unwrap(), 0);
    assert_eq!(observer.audited().compared, 0, "there is no table to audit");

    // The list is that of a scan, and the map shows what it has.
    let list = observer.page_list().unwrap();
    let plain = open(&server);
    let mut locator = Locator::of(server.pid(), &plain.profile().server.family).unwrap();
    let (mut frames, _) = Frames::open(target(&server).pid).unwrap();
    let scanned = build(&plain, None, &mut locator, &mut frames).unwrap();
    let of_list = |list: &userspace::page_list::Built| (list.facts.pages, list.left_out.clone());
    assert_eq!(of_list(&list), of_list(&scanned));
    let near = totals.clean.abs_diff(list.facts.pages);
    assert!(near * 50 <= totals.clean, "{} listed, {totals:?}", list.facts.pages);
    // What is shown between two scans is the last one's.
    let next = observer.snapshot().unwrap().totals;
    assert!(next.clean > 100 && next.free == totals.free, "{next:?}, before {totals:?}");
    assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
}

on_each_mysql!(a_server_without_probe_sites_is_scanned);
