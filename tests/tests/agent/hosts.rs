//! Hosts and agents that go in the middle of a word.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use page_wire::protocol::{AgentReply, ReplyBody, from_line};
use qemu_glue::agent::{Agent, AgentError, NoRam};

use crate::fixture::{Fixture, LIST_WITHIN, RAM_BYTES, warm};

#[test]
fn the_next_host_is_answered_whatever_the_last_one_left() {
    let Some(fixture) = Fixture::set("hosts::the_next_host_is_answered_whatever_the_last_one_left")
    else {
        return;
    };
    let server = warm();
    let _process = fixture.agent_on(&server);
    fixture.attached();
    let connect = || UnixStream::connect(fixture.path()).unwrap();
    // Half a request; no request at all; a request whose answer is not waited for; one that is read in part.
    connect().write_all(b"{\"id\":1,\"page-").unwrap();
    connect().write_all(&[0xff; 100_000]).unwrap_or_default();
    connect().write_all(b"{\"id\":1,\"page-list\":null}\n").unwrap();
    let mut reader = connect();
    reader.write_all(b"{\"id\":2,\"page-list\":null}\n").unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    drop(reader);
    let mut agent = fixture.connect();
    let listed = fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap();
    assert!(listed.pages > 2000);
}

#[test]
fn what_is_no_request_is_answered_with_an_error() {
    let Some(fixture) = Fixture::set("hosts::what_is_no_request_is_answered_with_an_error") else {
        return;
    };
    // No server is needed for that.
    let _process = fixture.agent(&["--pid", "4194304"]);
    let mut host = UnixStream::connect(fixture.path()).unwrap();
    let mut answers = BufReader::new(host.try_clone().unwrap()).lines();
    let mut answer = |request: &str| {
        host.write_all(request.as_bytes()).unwrap();
        let line = answers.next().unwrap().unwrap();
        from_line::<AgentReply>(line.as_bytes()).unwrap()
    };
    for nonsense in ["nonsense\n", "{}\n", "{\"id\":3,\"fly\":null}\n", "\u{0}\n"] {
        let AgentReply { id: 0, body: ReplyBody::Error(trouble) } = answer(nonsense) else {
            panic!("{nonsense} was answered");
        };
        assert!(trouble.hint.unwrap().contains("same version"));
    }
    let gone =
        "{\"id\":4,\"copy\":{\"list\":9,\"offset\":18446744073709551615,\"len\":4294967295}}\n";
    let AgentReply { id: 4, body: ReplyBody::Error(trouble) } = answer(gone) else {
        panic!("a list that there is not was copied");
    };
    assert!(trouble.what.contains("list 9"), "{}", trouble.what);
    let no_server = answer("{\"id\":5,\"page-list\":null}\n");
    assert!(matches!(no_server.body, ReplyBody::Error(_)), "{no_server:?}");
    assert!(matches!(answer("{\"id\":6,\"release\":{\"list\":1}}\n").body, ReplyBody::Released));
}

#[test]
fn an_agent_that_is_killed_is_noticed_and_another_takes_its_place() {
    let test = "hosts::an_agent_that_is_killed_is_noticed_and_another_takes_its_place";
    let Some(fixture) = Fixture::set(test) else { return };
    let server = warm();
    let process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    process.kill();
    let error =
        fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap_err();
    assert!(matches!(error, AgentError::Closed { .. } | AgentError::Io(_)), "{error}");
    let path = fixture.path();
    let nobody = fixture.runtime.block_on(Agent::connect_within(&path, Duration::from_secs(1)));
    assert!(matches!(nobody, Err(AgentError::Connect { .. })));
    // Its socket is still there, and is replaced.
    let _next = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    let listed = fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap();
    assert!(listed.pages > 2000);
}
