//! A server whose events cannot be had is seen and listed all the same, at the price of a scan.

use symbols::profile::Missing;
use symbols::reason::UnresolvedReason;
use symbols::role::{Role, SiteRole};
use test_servers::Release;
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::observer::{ObserveOptions, Observer};
use userspace::page_list::build;

use crate::agent::Agent;
use crate::lab::{eventually, on_each_mysql, on_one_mariadb, open, small, target};

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
    let log: Vec<_> = snapshot.notices.iter().map(ToString::to_string).collect();
    assert!(log.iter().any(|notice| notice.contains("scanned only: no probe for page_dirty")));
    let totals = snapshot.totals;
    assert!(totals.clean > 100, "{totals:?}");
    assert_eq!(observer.audit().unwrap(), 0);
    assert_eq!(observer.audited().compared, 0, "there is no table to audit");

    // The list is that of a scan, and the map shows what it has.
    let plain = open(&server);
    let mut locator = Locator::of(server.pid(), &plain.profile().server.family).unwrap();
    let (mut frames, _) = Frames::open(target(&server).pid).unwrap();
    let of_list = |list: &userspace::page_list::Built| (list.facts.pages, list.left_out.clone());
    let mut list = observer.page_list().unwrap();
    // The server may write a page of its own between the two.
    let agrees = eventually(|| {
        list = observer.page_list().unwrap();
        let scanned = build(&plain, None, &mut locator, &mut frames).unwrap();
        of_list(&list) == of_list(&scanned)
    });
    assert!(agrees, "{:?}", of_list(&list));
    let near = totals.clean.abs_diff(list.facts.pages);
    assert!(near * 50 <= totals.clean, "{} listed, {totals:?}", list.facts.pages);
    // What is shown between two scans is the last one's.
    let next = observer.snapshot().unwrap().totals;
    assert!(next.clean > 100 && next.free == totals.free, "{next:?}, before {totals:?}");
    assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
}

/// A profile of the operator's that has no place for an event: the program says that it scans, and lists what it finds.
fn a_profile_of_the_operators_without_an_event_is_scanned(release: Release) {
    let Some(agent) = Agent::find("a_profile_of_the_operators_without_an_event_is_scanned") else {
        return;
    };
    let server = small(release);
    let mut profile = open(&server).resolved.profile;
    without(&mut profile, SiteRole::PageDirty);
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{}.json", profile.binary.build_id.as_ref().unwrap());
    std::fs::write(folder.path().join(name), serde_json::to_vec(&profile).unwrap()).unwrap();
    let (pid, folder) = (server.pid().to_string(), folder.path().to_str().unwrap());
    let of_server = ["--pid", &pid, "--profiles", folder];
    let run = |command: &[&str]| {
        let output = agent.run(&[command, &of_server].concat());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (rows, _) = run(&["pages", "--format", "jsonl"]);
    let listed = crate::listed::parse(&rows).iter().filter(|row| row.eligible).count();
    assert!(listed > 300, "{listed} pages are listed");
    let (records, log) = run(&["trace", "--format", "jsonl", "--duration", "2s"]);
    let expected = "scanned only: no probe for page_dirty";
    assert!(records.contains(expected) || log.contains(expected), "{records}\n{log}");
    let records =
        records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let clean: Vec<u64> = records.filter_map(|record| record["totals"]["clean"].as_u64()).collect();
    println!("{listed} listed, {clean:?} shown");
    assert!(clean.iter().all(|clean| *clean > 300), "{clean:?}");
}

on_each_mysql!(a_server_without_probe_sites_is_scanned);
on_one_mariadb!(
    a_server_without_probe_sites_is_scanned: a_mariadb_without_probe_sites_is_scanned,
    a_profile_of_the_operators_without_an_event_is_scanned: a_mariadb_whose_profile_lacks_an_event_is_scanned,
);
