//! More than one server in a guest, some of them strangers.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use page_number::UNIT_SHIFT;
use page_wire::protocol::{ServerState, Status};
use page_wire::{Bounds, Device, HEADER_BYTES, List, Run};
use qemu_glue::agent::{Agent, AgentError, Listed, NoRam};
use test_servers::{Config, PageSize, Release, Server, command, skipped};
use tests::squatter::Squat;

use crate::fixture::{
    DATA, Fixture, LIST_WITHIN, Process, RAM_BYTES, eventually, settle, warm, warmed,
};
use crate::list::made_here;
use crate::memory::Memory;
use crate::volume::{Volume, with_own_mounts};

/// A list that is about to come is waited for so long here, where a server starts slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that may have these servers, and whatever else stands in their data directories.
pub(crate) fn agent_on(fixture: &Fixture, servers: &[&Server], more: &[&str]) -> Process {
    let datadirs: Vec<String> =
        servers.iter().map(|server| server.datadir().display().to_string()).collect();
    let mut arguments = more.to_vec();
    arguments.extend(datadirs.iter().flat_map(|datadir| ["--datadir", datadir]));
    fixture.agent(&arguments)
}

pub(crate) fn pids(status: &Status) -> Vec<u32> {
    let mut pids: Vec<u32> = status.servers.iter().map(|served| served.pid).collect();
    pids.sort_unstable();
    pids
}

/// Waits until exactly these have probes.
pub(crate) fn attached(fixture: &Fixture, servers: &[&Server]) -> Agent {
    let mut agent = fixture.connect().waiting(PATIENCE);
    let mut wanted: Vec<u32> = servers.iter().map(|server| server.pid()).collect();
    wanted.sort_unstable();
    let are = eventually(|| pids(&fixture.status(&mut agent)) == wanted);
    assert!(are, "{wanted:?}: {:?}", fixture.status(&mut agent));
    agent
}

fn list(fixture: &Fixture, agent: &mut Agent) -> Listed {
    fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap()
}

/// Each run of a list in single frames, with the name of its device.
fn frames(list: &List<'_>) -> Vec<(String, u64, u64)> {
    let devices: Vec<Device> = list.devices().to_vec();
    let each = |run: Run| {
        let name = devices[usize::from(run.device())].name().to_owned();
        (0..u64::from(run.frames()))
            .map(move |frame| (name.clone(), run.unit() + frame * 8, run.gfn() + frame))
    };
    let mut frames: Vec<_> = list.runs().flat_map(each).collect();
    frames.sort_unstable();
    frames
}

/// The union of the lists of each server alone: the same frames at the same places, and no others. Frames may move
/// between the looks, so they are compared until nothing has.
fn assert_union(fixture: &Fixture, agent: &mut Agent, servers: &[&Server]) -> Listed {
    for _ in 0..8 {
        let before = list(fixture, agent);
        let mut wanted: Vec<_> = servers
            .iter()
            .flat_map(|server| {
                let (head, mut rest) = made_here(server);
                let mut whole = head;
                whole.append(&mut rest);
                frames(&List::parse(&whole, Bounds::ANY).unwrap())
            })
            .collect();
        wanted.sort_unstable();
        let after = list(fixture, agent);
        if before.bytes[HEADER_BYTES..] == after.bytes[HEADER_BYTES..] {
            let found = frames(&List::parse(&after.bytes, Bounds::ANY).unwrap());
            assert_eq!(found.len(), wanted.len());
            assert!(found == wanted, "other frames or places");
            return after;
        }
    }
    panic!("frames never rest");
}

/// Where a server's frames are mapped in it, by frame number.
struct Guest(Vec<Memory>);

impl Guest {
    fn of(servers: &[&Server]) -> Self {
        Self(servers.iter().map(|server| Memory::of(server.pid())).collect())
    }

    fn read(&self, gfn: u64, out: &mut [u8]) -> bool {
        use qemu_glue::agent::ReadRam as _;
        self.0.iter().any(|memory| memory.read_ram(gfn << 12, out).is_ok())
    }
}

/// Bytes at an address that `O_DIRECT` accepts.
#[repr(align(4096))]
struct Aligned([u8; 4096]);

/// Every listed frame of a disk that can be read here holds what lies at its place; gives how many there are.
fn assert_bytes(listed: &Listed, servers: &[&Server]) -> usize {
    let guest = Guest::of(servers);
    let parsed = List::parse(&listed.bytes, Bounds::ANY).unwrap();
    let mut disks: HashMap<String, Option<File>> = HashMap::new();
    let (mut compared, mut differing, mut moved) = (0, 0, 0);
    let (mut in_ram, mut on_disk) = ([0; 4096], Box::new(Aligned([0; 4096])));
    for (device, unit, gfn) in frames(&parsed) {
        let Some(disk) = disks.entry(device).or_insert_with_key(|name| disk(name)) else {
            continue;
        };
        if !guest.read(gfn, &mut in_ram) {
            moved += 1;
            continue;
        }
        disk.read_exact_at(&mut on_disk.0, unit << UNIT_SHIFT).unwrap();
        compared += 1;
        differing += usize::from(in_ram != on_disk.0);
    }
    assert_eq!(differing, 0, "of {compared} frames");
    assert!(moved * 100 <= compared, "{moved} frames are no server's, {compared} are");
    compared
}

/// The whole disk of a device, past the page cache, which knows nothing of what a file system wrote.
fn disk(device: &str) -> Option<File> {
    let has_name = |name: &str| {
        let read = |file: &str| fs::read_to_string(format!("/sys/block/{name}/{file}")).ok();
        let is = |kind: &str, file: &str| {
            read(file).is_some_and(|found| device == format!("{kind}:{}", found.trim()))
        };
        is("serial", "serial") || is("loop:0", "loop/backing_file")
    };
    let names = fs::read_dir("/sys/block").ok()?;
    let mut names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let Some(name) = names.find(|name| has_name(name)) else {
        println!("no disk of this machine is {device}: its pages are not compared");
        return None;
    };
    let path: PathBuf = Path::new("/dev").join(name);
    let opened = File::options().read(true).custom_flags(libc::O_DIRECT).open(path);
    opened.inspect_err(|error| println!("{device} is not compared: {error}")).ok()
}

/// One list of two servers; gives how many frames were compared with disks.
fn two_servers(fixture: &Fixture, one: &Server, other: &Server) -> usize {
    let servers = [one, other];
    let _process = agent_on(fixture, &servers, &["--metrics", "127.0.0.1:0"]);
    let mut agent = attached(fixture, &servers);
    let listed = assert_union(fixture, &mut agent, &servers);
    let mut listed_pids = listed.servers.clone();
    listed_pids.sort_unstable();
    let status = fixture.status(&mut agent);
    assert_eq!(listed_pids, pids(&status));
    let compared = assert_bytes(&listed, &servers);
    println!("{} pages of {listed_pids:?}, {compared} frames compared with disks", listed.pages);
    // Their figures are kept apart, and summed.
    let each: Vec<u64> = status
        .servers
        .iter()
        .map(|served| served.observed.as_ref().unwrap().blocks.clean)
        .collect();
    assert!(each.iter().all(|clean| *clean > 100), "{each:?}");
    let sum = status.observed.unwrap();
    assert!(sum.blocks.clean >= each.iter().sum(), "{} of {each:?}", sum.blocks.clean);
    for (server, served) in [(one, &status.servers), (other, &status.servers)] {
        let served = served.iter().find(|served| served.pid == server.pid()).unwrap();
        assert_eq!((served.user.raw(), served.datadir.is_empty()), ("root", false));
    }
    compared
}

/// On one disk, so that their pages lie among each other.
#[test]
fn two_servers_on_one_disk_are_one_list() {
    const TEST: &str = "several::two_servers_on_one_disk_are_one_list";
    with_own_mounts(TEST, || {
        let Some(fixture) = Fixture::set(TEST) else { return };
        let volume = Volume::new();
        let config = || Config::new().pool_mib(96).sysbench(DATA).datadir_in(volume.path());
        let servers = [(); 2].map(|()| warmed(Release::Mysql56, config()));
        let compared = two_servers(&fixture, &servers[0], &servers[1]);
        assert!(compared > 4 * 4000, "{compared} frames of {}", volume.device());
    });
}

/// Of another release, on another disk, with pages of another size.
#[test]
fn two_servers_that_differ_are_one_list() {
    const TEST: &str = "several::two_servers_that_differ_are_one_list";
    if let Err(error) = Release::Mysql97.installed() {
        return skipped(TEST, error);
    }
    with_own_mounts(TEST, || {
        let Some(fixture) = Fixture::set(TEST) else { return };
        let volumes = [(); 2].map(|()| Volume::new());
        let config =
            |volume: &Volume| Config::new().pool_mib(96).sysbench(DATA).datadir_in(volume.path());
        let one = warmed(Release::Mysql56, config(&volumes[0]));
        let other = warmed(Release::Mysql97, config(&volumes[1]).page_size(PageSize::K8));
        let compared = two_servers(&fixture, &one, &other);
        assert!(compared > 4 * 4000, "{compared} frames");
        let _process = agent_on(&fixture, &[&one, &other], &[]);
        let mut agent = attached(&fixture, &[&one, &other]);
        let listed = list(&fixture, &mut agent);
        let facts = List::parse(&listed.bytes, Bounds::ANY).unwrap().facts();
        assert_eq!((facts.page_size, facts.pages), (0, listed.pages), "of several sizes");
        assert_eq!(fixture.status(&mut agent).observed.unwrap().page_size, 8192);
    });
}

#[test]
fn a_servers_list_does_not_wait_for_squatters() {
    const TEST: &str = "several::a_servers_list_does_not_wait_for_squatters";
    let Some(fixture) = Fixture::set(TEST) else { return };
    if !command::exists("setpriv") {
        return skipped(TEST, "`setpriv` is not installed");
    }
    let server = warm();
    let (sleepers, like_a_server) =
        (Squat::of(Path::new("/bin/sleep")).unwrap(), Squat::of(server.program()).unwrap());
    let mut squatters: Vec<_> =
        (0..49).map(|_| sleepers.start(server.datadir(), &["1000"]).unwrap()).collect();
    // The program of a real server, which never gets to its pool.
    let stopped = like_a_server.start(server.datadir(), &["--no-defaults"]).unwrap();
    stopped.stop().unwrap();
    squatters.push(stopped);
    let since = Instant::now();
    let _process = agent_on(&fixture, &[&server], &[]);
    let mut agent = attached(&fixture, &[&server]);
    println!("attached {:?} after the agent's start, beside 50 squatters", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(20));
    // Squatters that come later disturb nothing.
    squatters.push(sleepers.start(server.datadir(), &["1000"]).unwrap());
    for _ in 0..3 {
        let begun = Instant::now();
        let listed = list(&fixture, &mut agent);
        assert_eq!(listed.servers, [server.pid()]);
        assert!(listed.pages > 2000 && begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(300));
    }
    assert_eq!(pids(&fixture.status(&mut agent)), [server.pid()]);
}

#[test]
fn squatters_alone_are_told_and_not_waited_for() {
    const TEST: &str = "several::squatters_alone_are_told_and_not_waited_for";
    let Some(fixture) = Fixture::set(TEST) else { return };
    if !command::exists("setpriv") {
        return skipped(TEST, "`setpriv` is not installed");
    }
    let sleepers = Squat::of(Path::new("/bin/sleep")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _squatters = [0, 1].map(|_| sleepers.start(folder.path(), &["1000"]).unwrap());
    let datadir = folder.path().display().to_string();
    let _process = fixture.agent(&["--datadir", &datadir]);
    let mut agent = fixture.connect();
    let is_reported = || match fixture.status(&mut agent).server {
        ServerState::Waiting { why, .. } => why.raw().contains("none of 2 processes is a server"),
        _ => false,
    };
    assert!(eventually(is_reported), "{:?}", fixture.status(&mut agent).server);
    let begun = Instant::now();
    let error =
        fixture.runtime.block_on(agent.page_list(&NoRam(RAM_BYTES), LIST_WITHIN)).unwrap_err();
    assert!(matches!(error, AgentError::Refused { again: false, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn one_of_two_servers_may_die_and_come_back() {
    const TEST: &str = "several::one_of_two_servers_may_die_and_come_back";
    let Some(fixture) = Fixture::set(TEST) else { return };
    let (stays, mut goes) = (warm(), warm());
    let _process = agent_on(&fixture, &[&stays, &goes], &[]);
    let mut agent = attached(&fixture, &[&stays, &goes]);
    let both = list(&fixture, &mut agent);
    assert_eq!(both.servers.len(), 2);
    goes.kill().unwrap();
    // At once: the other one's list, and no word of the dead one.
    let listed = list(&fixture, &mut agent);
    assert_eq!(listed.servers, [stays.pid()]);
    assert!(listed.pages > 2000 && listed.pages < both.pages);
    assert_eq!(pids(&fixture.status(&mut agent)), [stays.pid()]);
    goes.start_again().unwrap();
    let since = Instant::now();
    let mut wanted = vec![stays.pid(), goes.pid()];
    wanted.sort_unstable();
    let is_back = |agent: &mut Agent| pids(&fixture.status(agent)) == wanted;
    while !is_back(&mut agent) {
        assert!(since.elapsed() < Duration::from_secs(30), "it does not come back");
        assert!(list(&fixture, &mut agent).pages > 2000);
    }
    println!("back {:?} after it was ready", since.elapsed());
    assert_eq!(list(&fixture, &mut agent).servers.len(), 2);
}

#[test]
fn a_server_that_is_killed_and_restarted_is_waited_for() {
    const TEST: &str = "several::a_server_that_is_killed_and_restarted_is_waited_for";
    let Some(fixture) = Fixture::set(TEST) else { return };
    let mut server = warm();
    let _process = agent_on(&fixture, &[&server], &[]);
    let mut agent = attached(&fixture, &[&server]);
    let first = server.pid();
    server.kill().unwrap();
    let state = fixture.status(&mut agent).server;
    assert!(matches!(state, ServerState::Waiting { .. }), "the dead one is named: {state:?}");
    let restarting = std::thread::spawn(move || {
        server.start_again().unwrap();
        server
    });
    // Asked at once, while there is no process at all.
    let listed = list(&fixture, &mut agent);
    println!("waited {:.1} s for a list of {} pages", listed.steps.waited_s, listed.pages);
    let server = restarting.join().unwrap();
    assert_eq!(listed.servers, [server.pid()]);
    assert_ne!(server.pid(), first);
    settle(&server);
}
