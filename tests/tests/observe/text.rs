//! The server's text where probes stand: a probe is a changed byte, and must be gone afterwards.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use test_servers::Server;
use userspace::memory::{Memory, ServerAddr};
use userspace::server::Server as Observed;

use crate::lab::eventually;

/// Every place that the profile names, with the byte that the program's file has there.
pub(crate) struct Text {
    pid: u32,
    memory: Memory,
    places: Vec<(ServerAddr, u8)>,
}

impl Text {
    pub(crate) fn of(observed: &Observed) -> Self {
        let file = File::open(observed.target.program()).unwrap();
        let sites = observed.profile().sites.values().flatten();
        // An entry differs from its site where only a return probe stands on it.
        let places = sites.flat_map(|site| {
            let back = site.probe.0 - site.entry.0;
            [(site.probe, site.file_offset.0), (site.entry, site.file_offset.0 - back)]
        });
        let places = places.map(|(address, offset)| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            (observed.bias.apply(address), byte[0])
        });
        Self { pid: observed.target.pid, memory: observed.memory(), places: places.collect() }
    }

    /// Number of places that are not as in the file.
    pub(crate) fn changed(&self) -> usize {
        let changed = |(address, byte): &&(ServerAddr, u8)| {
            self.memory.integer(*address, 1).unwrap() != u64::from(*byte)
        };
        self.places.iter().filter(changed).count()
    }

    /// Number of places that are not as in the file, as far as nobody else has changed them: on a machine where an agent looks
    /// for servers it finds those of tests too, and its probes look like those of `agent`.
    pub(crate) fn left_by(&self, agent: u32) -> usize {
        let changed = self.changed();
        if changed > 0 && is_observed_by_others(self.pid, agent) { 0 } else { changed }
    }
}

/// Whether another program than `agent` waits for the process's end, as agents do.
fn is_observed_by_others(pid: u32, agent: u32) -> bool {
    let holds = |process: &fs::DirEntry| {
        let files = fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten();
        let line = format!("\nPid:\t{pid}\n");
        files
            .into_iter()
            .any(|file| fs::read_to_string(file.path()).is_ok_and(|text| text.contains(&line)))
    };
    let mut processes = fs::read_dir("/proc").unwrap().flatten();
    let own = [std::process::id(), agent].map(|own| own.to_string());
    processes.any(|process| {
        let name = process.file_name();
        let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        own.iter().all(|own| name != own.as_str())
            && program.starts_with("poolferry")
            && holds(&process)
    })
}

/// Nothing of ours is left in the server, and it goes on as the same process.
pub(crate) fn assert_unharmed(server: &Server, pid: u32, text: &Text) {
    // Whoever had them has ended.
    let left = || text.left_by(u32::MAX);
    assert!(eventually(|| left() == 0), "{} probes are left", left());
    assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
    assert_eq!(server.pid(), pid);
    assert!(std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}
