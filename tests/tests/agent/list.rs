//! The list as the host gets it against one that is made here.

use page_wire::protocol::Pinned;
use page_wire::{Bounds, HEADER_BYTES, List};
use qemu_glue::agent::{Agent, How, Listed, NoRam, NotInPlace};
use test_servers::Server;
use userspace::observer::{ObserveOptions, Observer};
use userspace::target::Target;

use crate::fixture::{Fixture, LIST_WITHIN, RAM_BYTES, warm};
use crate::memory::Memory;

/// A list made by an observer of our own: its header, which has the time, and the rest.
pub(crate) fn made_here(server: &Server) -> (Vec<u8>, Vec<u8>) {
    let target = Target::of(server.pid()).unwrap();
    let options = ObserveOptions::default();
    let mut observer = Observer::attach(target, &symbols::Options::default(), options).unwrap();
    let mut bytes = Vec::new();
    observer.page_list().unwrap().write(&mut bytes).unwrap();
    let rest = bytes.split_off(HEADER_BYTES);
    (bytes, rest)
}

/// Compares a list with one that is made here. The kernel moves frames whenever it likes, which makes another list: those
/// count that are the same before and after.
fn assert_is_made_here(fixture: &Fixture, agent: &mut Agent, server: &Server, mut listed: Vec<u8>) {
    for _ in 0..8 {
        let here = made_here(server).1;
        let again = fixture
            .runtime
            .block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN))
            .unwrap()
            .bytes;
        if listed[HEADER_BYTES..] == again[HEADER_BYTES..] {
            assert!(here == listed[HEADER_BYTES..], "the list is another than one made here");
            return;
        }
        listed = again;
    }
    panic!("frames never rest");
}

fn print_costs(listed: &Listed) {
    let steps = listed.steps;
    println!(
        "{} bytes of list, {:?}, {:?}: {:.1} ms, of which transfer {:.2} ms; {:?}",
        listed.bytes.len(),
        listed.how,
        listed.pinned,
        steps.total_s * 1e3,
        steps.transfer_s * 1e3,
        steps.guest
    );
}

#[test]
fn the_list_lies_in_the_frames_that_the_agent_tells() {
    let Some(fixture) = Fixture::set("list::the_list_lies_in_the_frames_that_the_agent_tells")
    else {
        return;
    };
    let server = warm();
    let process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    for _ in 0..2 {
        let memory = Memory::of(process.pid());
        let result = fixture.runtime.block_on(agent.page_list(&memory, LIST_WITHIN));
        let listed = result.unwrap();
        print_costs(&listed);
        assert!(matches!(listed.how, How::InPlace), "{:?}", listed.how);
        assert_ne!(listed.pinned, Pinned::No);
        let list = List::parse(&listed.bytes, Bounds::ANY).unwrap();
        assert_eq!(list.facts().pages, listed.pages);
        assert!(listed.pages > 2000, "{} pages", listed.pages);
        assert_is_made_here(&fixture, &mut agent, &server, listed.bytes.clone());
        assert!(listed.left_out.contains_key("free"), "{:?}", listed.left_out);
    }
    // Nothing is held once it was read.
    assert_eq!(fixture.status(&mut agent).list, None);
    assert!(process.terminate());
    assert!(!fixture.path().exists(), "the socket was left behind");
}

#[test]
fn a_host_without_ram_gets_the_same_list() {
    let Some(fixture) = Fixture::set("list::a_host_without_ram_gets_the_same_list") else { return };
    let server = warm();
    let _process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    let listed = fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap();
    print_costs(&listed);
    assert!(matches!(listed.how, How::Copied(NotInPlace::Ram { .. })), "{:?}", listed.how);
    assert_is_made_here(&fixture, &mut agent, &server, listed.bytes);
}

/// Frames of another process are not the agent's, so nothing is found there, or other bytes are.
#[test]
fn frames_that_hold_something_else_are_found_out() {
    let Some(fixture) = Fixture::set("list::frames_that_hold_something_else_are_found_out") else {
        return;
    };
    let server = warm();
    let _process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    let other = Memory::of(server.pid());
    let listed = fixture.runtime.block_on(agent.page_list(&other, LIST_WITHIN)).unwrap();
    assert!(matches!(listed.how, How::Copied(_)));
    assert_is_made_here(&fixture, &mut agent, &server, listed.bytes);
}
