//! A data directory with very many files: the host is answered at once, and its list is right.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use qemu_glue::agent::{Agent, NoRam};

use crate::fixture::{Fixture, LIST_WITHIN, RAM_BYTES, settle, warm};

const FILES: u32 = 200_000;
/// A greeting is answered between two steps of the agent, each of which may take so long; and what a greeting takes on this machine.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Memory of a process in bytes, now and at most.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_greeting_is_answered_at_once_beside_200_000_files() {
    let test = "many::a_greeting_is_answered_at_once_beside_200_000_files";
    let Some(fixture) = Fixture::set(test) else { return };
    let server = warm();
    let process = fixture.agent_on(&server);
    let mut agent = fixture.attached();
    settle(&server);
    let list = |agent: &mut Agent| {
        fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap().pages
    };
    let (few, before) = (list(&mut agent), resident(process.pid()));
    drop(agent);
    let slowest_greeting = |duration| {
        let (mut slowest, since) = (Duration::ZERO, Instant::now());
        while since.elapsed() < duration {
            let begun = Instant::now();
            let path = fixture.path();
            let agent = fixture.runtime.block_on(Agent::connect_within(&path, LIST_WITHIN));
            drop(agent.unwrap());
            slowest = slowest.max(begun.elapsed());
            // After a silence: what takes long waits while a host speaks.
            std::thread::sleep(Duration::from_millis(700));
        }
        slowest
    };
    let usual = slowest_greeting(Duration::from_secs(3));

    // In memory, where there is some to put files in: that is a matter of seconds.
    let folder = match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => folder,
        Err(_) => tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap(),
    };
    for number in 0..FILES {
        File::create(folder.path().join(format!("t{number}.ibd"))).unwrap();
    }
    symlink(folder.path(), server.datadir().join("many")).unwrap();
    let slowest = slowest_greeting(Duration::from_secs(15));
    let mut agent = fixture.connect();
    let begun = Instant::now();
    let many = list(&mut agent);
    let grown = resident(process.pid()).saturating_sub(before);
    println!(
        "{FILES} files: slowest greeting {slowest:.3?}, without them {usual:.3?}, list in {:.3?}, {many} pages of {few}, \
         {} MiB more memory",
        begun.elapsed(),
        grown >> 20
    );
    assert!(slowest < AT_ONCE + 4 * usual, "a greeting took {slowest:?}, {usual:?} without them");
    assert!(many.abs_diff(few) <= few / 100, "{many} pages, {few} before");
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    fs::remove_file(server.datadir().join("many")).unwrap();
}
