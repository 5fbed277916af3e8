//! What the process that reads foreign files may do: nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use test_servers::{command, skipped};

use crate::lab::{Lab, POOLFERRY, slow};

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// An agent that reads a file for minutes; it ends with this.
struct Agent(Child);

impl Agent {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The process that reads for it, and that one's status, once it has given up its rights.
    fn reader(&mut self) -> (u32, String) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let child = children(self.0.id()).first().copied().unwrap_or_default();
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            // The filter is the last thing that it puts on.
            if status.contains("Seccomp:\t2") {
                return (child, status);
            }
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "the agent ended: {ended:?}");
            assert!(Instant::now() < deadline, "no filter: {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_has_no_rights(status: &str) {
    println!("{status}");
    assert!(status.contains("NoNewPrivs:\t1"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{set}");
    }
}

#[test]
fn it_has_none() {
    let Some(lab) = Lab::with("it_has_none", &["-g"]) else { return };
    let open = lab.program();
    // Whatever whoever started the agent has left open in it.
    let mut agent = Command::new("sh");
    agent.args(["-c", "exec 9<\"$1\"; shift; exec \"$@\"", "sh"]).arg(&open);
    agent.args([POOLFERRY, "symbols", "--no-cache"]).arg(slow(&lab, "slow"));
    let mut agent = Agent::start(&mut agent);
    let (child, status) = agent.reader();
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    println!("{limits}");
    assert_has_no_rights(&status);
    if rustix::process::geteuid().is_root() {
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"));
        assert!(status.contains("Gid:\t65534\t65534\t65534\t65534"));
        assert!(status.contains("Groups:\t \n") || status.contains("Groups:\t\n"));
        let files = fs::read_dir(format!("/proc/{child}/fd")).unwrap();
        let files: Vec<_> =
            files.map(|file| fs::read_link(file.unwrap().path()).unwrap()).collect();
        assert!(files.len() > 2 && !files.contains(&open), "{files:?}");
    }
    for limit in ["Max file size             0", "Max processes             0"] {
        assert!(limits.contains(limit), "{limit}");
    }
    // It goes with its parent.
    drop(agent);
    let gone = Instant::now() + Duration::from_secs(3);
    while fs::metadata(format!("/proc/{child}")).is_ok() {
        assert!(Instant::now() < gone, "it outlives its parent");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An agent that is not root has what it needs by capabilities, which no change of user takes from its children.
#[test]
fn it_has_none_of_an_agent_that_is_not_root() {
    const TEST: &str = "it_has_none_of_an_agent_that_is_not_root";
    let Some(lab) = Lab::with(TEST, &["-g"]) else { return };
    if !rustix::process::geteuid().is_root() || !command::exists("setpriv") {
        return skipped(TEST, "this is not root, or `setpriv` is not installed");
    }
    let program = lab.path("poolferry");
    fs::copy(POOLFERRY, &program).unwrap();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(program.parent().unwrap(), everybody).unwrap();
    let mut agent = Command::new("setpriv");
    agent.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    agent.args(["--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"]);
    agent.arg(&program).args(["symbols", "--no-cache"]).arg(slow(&lab, "slow"));
    let mut agent = Agent::start(&mut agent);
    let (_, status) = agent.reader();
    let own = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    assert!(own.contains("CapEff:\t0000000000080000"), "{own}");
    assert_has_no_rights(&status);
}
