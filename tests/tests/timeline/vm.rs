//! A QEMU of a test, ended with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use qemu_glue::qmp::Qmp;
use serde_json::{Value, json};
use test_qemus::Qemu;

/// How long anything is waited for that is known to come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running QEMU with its monitor.
pub(crate) struct Vm {
    child: Child,
    pub(crate) qmp: Qmp,
}

impl Vm {
    /// Starts one; `more` is what distinguishes source and destination.
    pub(crate) async fn start(
        qemu: &Qemu,
        folder: &Path,
        name: &str,
        disk: &Path,
        more: &[&str],
    ) -> Self {
        let socket = folder.join(format!("{name}.qmp"));
        let mut command = qemu.command();
        command
            .args(["-machine", "pc,memory-backend=mem0", "-accel", "tcg", "-display", "none"])
            .args(["-nodefaults", "-no-user-config", "-m", "128M"])
            .args(["-object", "memory-backend-memfd,id=mem0,size=128M,share=on"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .arg("-drive")
            .arg(format!("file={},format=raw,if=ide,readonly=off,file.locking=off", disk.display()))
            .args(more)
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Self { child, qmp: connect(&socket).await }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn execute(&self, name: &str, arguments: Value) -> Value {
        self.qmp.execute(name, arguments).await.unwrap()
    }

    /// What `query-migrate` says once it says that all is over; its figures are filled in after the
    /// status is (seen in 7.2), so it is asked until they are.
    pub(crate) async fn migrated(&self) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.execute("query-migrate", json!({})).await;
            let status = answer["status"].as_str().unwrap_or_default();
            assert!(!["failed", "cancelled"].contains(&status), "{answer}");
            if status == "completed" && answer["total-time"].as_u64() > Some(0) {
                return answer;
            }
            assert!(since.elapsed() < LIMIT, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(socket: &PathBuf) -> Qmp {
    let since = Instant::now();
    loop {
        match Qmp::connect(socket).await {
            Ok(qmp) => return qmp,
            Err(error) => assert!(since.elapsed() < LIMIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
