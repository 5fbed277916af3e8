//! Strangers' processes that are called like a dynamic loader, which may have loaded anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use qemu_glue::agent::Agent;
use test_servers::{Server, command, skipped};
use tests::squatter::Squat;

use crate::fixture::{Fixture, warm};
use crate::several::{agent_on, attached, pids};

/// Processes, and mappings of each that a table of 1 MiB has lines for.
const PROCESSES: &str = "400";
const MAPPINGS: &str = "300";
/// A server that has come back is seen so soon: after a pause of 2 s at most, and the look itself. Both bounds are beside what this machine
/// takes without strangers.
const SOON: Duration = Duration::from_secs(10);
/// The agent answers so soon meanwhile.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Maps a file with a long path over and over, in as many processes as its argument names.
const PROGRAM: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int, char **words) {
    int file = open(words[2], O_RDONLY);
    for (int n = atoi(words[3]); n; n--) {
        mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
        mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    for (int n = atoi(words[4]); n; n--)
        if (!fork()) { prctl(PR_SET_PDEATHSIG, 9); for (;;) pause(); }
    for (;;) pause();
}
"#;

/// A file whose path is almost as long as a path may be.
fn long_path(base: &Path) -> PathBuf {
    let folder = base.join(vec!["n".repeat(200); 18].join("/"));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("file");
    fs::write(&file, [0; 4096]).unwrap();
    file
}

#[test]
fn loaders_of_strangers_keep_no_server_unseen() {
    const TEST: &str = "loaders::loaders_of_strangers_keep_no_server_unseen";
    let Some(fixture) = Fixture::set(TEST) else { return };
    if !command::exists("setpriv") || !command::exists("g++") {
        return skipped(TEST, "`setpriv` or `g++` is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let (source, program) = (folder.path().join("l.cc"), folder.path().join("l"));
    fs::write(&source, PROGRAM).unwrap();
    assert!(Command::new("g++").arg("-o").args([&program, &source]).status().unwrap().success());
    let file = long_path(folder.path()).display().to_string();
    let mut server = warm();
    let process = agent_on(&fixture, &[&server], &[]);
    let usual = comes_back(&fixture, &mut attached(&fixture, &[&server]), &mut server);
    drop(process);
    let loaders = Squat::named("ld-x.so.2", &program).unwrap();
    let arguments = ["/nowhere/mysqld", &file, MAPPINGS, PROCESSES];
    let _loaders = loaders.start(server.datadir(), &arguments).unwrap();
    let _process = agent_on(&fixture, &[&server], &[]);
    let mut agent = attached(&fixture, &[&server]);
    for _ in 0..2 {
        let beside = comes_back(&fixture, &mut agent, &mut server);
        println!("{beside:.1?}, without them {usual:.1?}");
        assert!(beside.seen < SOON + 4 * usual.seen, "{beside:.1?}, {usual:.1?}");
        assert!(beside.answer < AT_ONCE + 4 * usual.answer, "{beside:.1?}, {usual:.1?}");
    }
}

/// What a server's coming back takes.
#[derive(Debug)]
struct Return {
    /// From its being ready until it is seen.
    seen: Duration,
    /// The slowest answer of the agent meanwhile.
    answer: Duration,
}

/// Kills the server and starts it again.
fn comes_back(fixture: &Fixture, agent: &mut Agent, server: &mut Server) -> Return {
    server.kill().unwrap();
    server.start_again().unwrap();
    let (since, mut answer) = (Instant::now(), Duration::ZERO);
    loop {
        let begun = Instant::now();
        let status = fixture.status(agent);
        answer = answer.max(begun.elapsed());
        if pids(&status) == [server.pid()] {
            return Return { seen: since.elapsed(), answer };
        }
        assert!(since.elapsed() < Duration::from_secs(60), "it is not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}
