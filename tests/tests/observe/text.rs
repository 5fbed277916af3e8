//! The server's text where probes stand: a probe is a changed byte, and must be gone afterwards.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use test_servers::Server;
use userspace::memory::{Memory, ServerAddr};
use userspace::server::Server as Observed;

use crate::lab::eventually;

/// Every place that the profile names, with the byte that the program's file has there.
pub(crate) struct Text {
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
        Self { memory: observed.memory(), places: places.collect() }
    }

    /// Number of places that are not as in the file.
    pub(crate) fn changed(&self) -> usize {
        let changed = |(address, byte): &&(ServerAddr, u8)| {
            self.memory.integer(*address, 1).unwrap() != u64::from(*byte)
        };
        self.places.iter().filter(changed).count()
    }
}

/// Nothing of ours is left in the server, and it goes on as the same process.
pub(crate) fn assert_unharmed(server: &Server, pid: u32, text: &Text) {
    assert!(eventually(|| text.changed() == 0), "{} probes are left", text.changed());
    assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
    assert_eq!(server.pid(), pid);
    assert!(std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}
