//! What the process that reads foreign files may do: nothing.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, POOLFERRY, slow};

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn it_has_none() {
    let Some(lab) = Lab::with("it_has_none", &["-g"]) else { return };
    let mut agent = Command::new(POOLFERRY);
    agent.args(["symbols", "--no-cache"]).arg(slow(&lab, "slow"));
    let mut agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        let status = children(agent.id())
            .first()
            .and_then(|child| fs::read_to_string(format!("/proc/{child}/status")).ok())
            .unwrap_or_default();
        // The filter is the last thing that it puts on.
        if status.contains("Seccomp:\t2") || Instant::now() > deadline {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let child = children(agent.id())[0];
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    println!("{status}\n{limits}");
    assert!(status.contains("Seccomp:\t2"));
    assert!(status.contains("NoNewPrivs:\t1"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{set}");
    }
    if rustix::process::geteuid().is_root() {
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"));
        assert!(status.contains("Gid:\t65534\t65534\t65534\t65534"));
        assert!(status.contains("Groups:\t \n") || status.contains("Groups:\t\n"));
    }
    for limit in ["Max file size             0", "Max processes             0"] {
        assert!(limits.contains(limit), "{limit}");
    }
    // It goes with its parent.
    let gone = Instant::now() + Duration::from_secs(3);
    while fs::metadata(format!("/proc/{child}")).is_ok() {
        assert!(Instant::now() < gone, "it outlives its parent");
        std::thread::sleep(Duration::from_millis(5));
    }
}
