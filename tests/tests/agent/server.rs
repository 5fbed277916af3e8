//! What the host gets of the server.

use std::time::Duration;

use page_wire::protocol::{Migration, Phase, ServerState, Times};
use qemu_glue::agent::{AgentError, NoRam};
use test_servers::{LoadSpec, Script, skipped};

use crate::fixture::{Fixture, LIST_WITHIN, RAM_BYTES, eventually, other_servers, settle, warm};

/// Statements since the start, which the server counts too.
fn questions(server: &test_servers::Server) -> u64 {
    server.query("SHOW GLOBAL STATUS LIKE 'Questions'").unwrap()[0][1].parse().unwrap()
}

#[test]
fn figures_of_a_load_are_the_servers_own() {
    let Some(fixture) = Fixture::set("server::figures_of_a_load_are_the_servers_own") else {
        return;
    };
    let server = warm();
    let _process =
        fixture.agent(&["--queries", "--refresh", "200ms", "--pid", &server.pid().to_string()]);
    let mut agent = fixture.attached();
    let before = fixture.status(&mut agent).observed.unwrap();
    let queries_before = questions(&server);
    let clean = before.blocks.clean;
    assert!(clean > 2000 && before.blocks.dirty == 0, "{:?}", before.blocks);

    let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(3)).unwrap();
    let mut highest = 0.0_f64;
    let busy = || {
        let observed = fixture.status(&mut agent).observed.unwrap();
        highest = highest.max(observed.queries.as_ref().map_or(0.0, |queries| queries.rate));
        observed.events.dirtied > before.events.dirtied && highest > 0.0
    };
    assert!(eventually(busy), "nothing is seen of the load");
    load.wait().unwrap();
    let counted = questions(&server) - queries_before;

    // A snapshot is some tenths of a second old, which are thousands of commands.
    let count = |times: &Option<Times>| times.as_ref().unwrap().count;
    let mut after = fixture.status(&mut agent).observed.unwrap();
    let is_over = || {
        let last = count(&after.queries);
        std::thread::sleep(Duration::from_millis(500));
        after = fixture.status(&mut agent).observed.unwrap();
        count(&after.queries) == last
    };
    assert!(eventually(is_over), "commands without a load");
    let seen = count(&after.queries) - count(&before.queries);
    println!("{seen} commands seen, {counted} counted by the server, up to {highest:.0} a second");
    // The questions about questions, and statements that prepare or close, are counted on one side
    // only; a handful a connection.
    assert!(seen.abs_diff(counted) <= counted / 100 + 100, "{seen} of {counted}");
    assert!(after.taken_ns > before.taken_ns && after.since_attach_s > before.since_attach_s);
    assert_eq!(after.drift, 0);
    settle(&server);
    let written = fixture.status(&mut agent).observed.unwrap().events.writes;
    assert!(written > before.events.writes);
}

#[test]
fn a_migration_that_the_host_tells_of_is_shown_in_the_guest() {
    let Some(fixture) =
        Fixture::set("server::a_migration_that_the_host_tells_of_is_shown_in_the_guest")
    else {
        return;
    };
    let server = warm();
    let _process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    let migration = Migration {
        phase: Phase::Throttled,
        skipped: 4000,
        installed: 3999,
        redirtied: 1,
        remaining_bytes: 1 << 20,
    };
    fixture.runtime.block_on(agent.report(migration)).unwrap();
    let pid = server.pid().to_string();
    let shown = fixture.run(&["trace", "--format", "jsonl", "--duration", "3s", "--pid", &pid]);
    assert!(shown.contains("3999 of 4000 skipped pages"), "{shown}");
}

#[test]
fn a_server_that_is_gone_is_told_with_a_remedy() {
    let Some(fixture) = Fixture::set("server::a_server_that_is_gone_is_told_with_a_remedy") else {
        return;
    };
    let mut server = warm();
    let _process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    server.kill().unwrap();
    let error =
        fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap_err();
    assert!(matches!(error, AgentError::Refused { .. }), "{error}");
    assert!(error.hint().is_some(), "{error}");
    let waits = || match fixture.status(&mut agent).server {
        ServerState::Waiting { why, hint } => why.contains("no process") && hint.is_some(),
        _ => false,
    };
    assert!(eventually(waits), "it is not reported");
    assert_eq!(fixture.status(&mut agent).observed, None);
}

#[test]
fn a_server_that_starts_again_is_attached_to_again() {
    let test = "server::a_server_that_starts_again_is_attached_to_again";
    let Some(fixture) = Fixture::set(test) else { return };
    if other_servers() {
        return skipped(test, "another server runs here, and the agent would have to choose");
    }
    // The agent is there before the server.
    let _process = fixture.agent(&[]);
    let mut agent = fixture.connect();
    let state = fixture.status(&mut agent).server;
    assert!(matches!(state, ServerState::Waiting { .. }), "{state:?}");
    let mut server = warm();
    let attached_to = |agent: &mut _, pid| {
        let is = |state| matches!(state, ServerState::Attached { pid: found, .. } if found == pid);
        eventually(|| is(fixture.status(agent).server))
    };
    assert!(attached_to(&mut agent, server.pid()), "the first was not found");
    let first = server.pid();
    server.shut_down().unwrap();
    server.start_again().unwrap();
    assert_ne!(server.pid(), first);
    assert!(attached_to(&mut agent, server.pid()), "the second was not found");
    let listed = fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap();
    assert!(listed.pages > 50, "{} pages", listed.pages);
}
