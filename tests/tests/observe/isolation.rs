//! Servers behind namespaces and roots of their own, and two at once.

use probe_abi::Probe;
use test_servers::{Config, Isolation, LoadSpec, Release, Script, Server};
use userspace::choose::{self, ChooseError};
use userspace::observer::Observer;
use userspace::target::{ServerRule, Target};

use crate::agent::{Agent, complaint};
use crate::content::assert_files_hold_the_frames;
use crate::lab::{observe, on_each_mysql, settle, small, target, warm};
use crate::text::{Text, assert_unharmed};
use crate::under_load::assert_table_is_true;

fn hits(observer: &Observer) -> u64 {
    observer.probes().counters().unwrap().iter().map(|counters| counters.hits).sum()
}

/// In mount and pid namespaces of its own (and 9.7 in a chroot besides): paths, pid and program are
/// others than those outside.
fn a_server_in_namespaces_is_observed(release: Release) {
    let server = warm(release, Config::new().pool_mib(64).isolation(Isolation::Namespaces));
    let inside = server.query_one("SELECT @@datadir").unwrap();
    assert_ne!(std::path::Path::new(&inside), server.datadir());
    let mut observer = observe(&server);
    let text = Text::of(observer.server());
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(3)).unwrap();
    load.wait().unwrap();
    settle(&server);
    assert!(hits(&observer) > 100, "{} hits", hits(&observer));
    observer.audit().unwrap();
    assert_table_is_true(&observer);
    assert_eq!(observer.audited().drift, 0);
    assert_files_hold_the_frames(&server);
    assert!(observer.page_list().unwrap().facts.pages > 1000);
    drop(observer);
    assert_unharmed(&server, server.pid(), &text);
}

/// `ld-linux-x86-64.so.2 /path/mysqld`: the kernel says that the loader is the program.
fn a_server_behind_the_loader_is_observed(release: Release) {
    let server = warm(release, Config::new().pool_mib(32).through_loader());
    let exe = std::fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap();
    assert!(exe.file_name().unwrap().to_string_lossy().starts_with("ld-"), "{exe:?}");
    let found = target(&server);
    assert_eq!(found.exe.file_name().unwrap(), "mysqld");
    assert!(Target::all(&["mysqld".to_owned()]).contains(&found));
    let mut observer = observe(&server);
    let text = Text::of(observer.server());
    assert!(text.changed() > 0, "the probes stand in the text of mysqld");
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(2)).unwrap();
    load.wait().unwrap();
    settle(&server);
    assert!(hits(&observer) > 100, "{} hits", hits(&observer));
    assert_table_is_true(&observer);
    assert!(observer.page_list().unwrap().facts.pages > 500);
    drop(observer);
    assert_unharmed(&server, server.pid(), &text);
}

/// Two servers of the same program file, on which the kernel sets one probe for both.
fn one_of_two_servers_is_observed_alone(release: Release) {
    let (quiet, busy) = (small(release), small(release));
    let (of_quiet, of_busy) = (observe(&quiet), observe(&busy));
    let before = hits(&of_quiet);
    let load = busy.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(4).uniform()).unwrap();
    load.wait().unwrap();
    settle(&busy);
    let (idle, worked) = (hits(&of_quiet) - before, hits(&of_busy));
    println!("{idle} hits of the quiet server, {worked} of the busy one");
    assert!(worked > 2000 && idle < worked / 20, "{idle} and {worked} hits");
    for observer in [&of_quiet, &of_busy] {
        let counters = observer.probes().counters().unwrap();
        assert_eq!(counters[Probe::Dirty as usize].foreign, 0, "{counters:?}");
        assert_table_is_true(observer);
    }
    several_are_listed(&quiet, &busy);
}

/// Nobody guesses which one is meant.
fn several_are_listed(one: &Server, other: &Server) {
    let rule = ServerRule { pids: vec![one.pid(), other.pid()], ..ServerRule::default() };
    let chosen = choose::server(&rule, &symbols::Options::default());
    let Err(error) = chosen else { panic!("one of two was chosen") };
    let ChooseError::Several { list } = &error else { panic!("{error}") };
    let pids: Vec<u32> = list.iter().map(|found| found.pid).collect();
    assert!(pids.contains(&one.pid()) && pids.contains(&other.pid()), "{list:?}");
    assert!(error.hint().unwrap().contains("--pid"));
    let Some(agent) = Agent::find("one_of_two_servers_is_observed_alone") else { return };
    let output = agent.try_run(&["pages"]);
    let message = complaint(&output);
    assert!(!output.status.success());
    for server in [one, other] {
        assert!(message.contains(&format!("--pid {}", server.pid())), "{message}");
    }
}

on_each_mysql!(
    a_server_behind_the_loader_is_observed,
    a_server_in_namespaces_is_observed,
    one_of_two_servers_is_observed_alone
);
