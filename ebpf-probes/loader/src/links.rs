//! What holds probes in place.

use std::thread;

use aya::programs::uprobe::UProbeLink;

/// Attached probes; dropped, they are taken out.
#[derive(Debug, Default)]
pub(crate) struct ProbeLinks(Vec<UProbeLink>);

impl ProbeLinks {
    /// One more.
    pub(crate) fn add(&mut self, link: UProbeLink) {
        self.0.push(link);
    }
}

impl Drop for ProbeLinks {
    /// The kernel waits for a grace period with each that goes, a second and more where all CPUs are busy. Those that go
    /// together wait for the same one.
    fn drop(&mut self) {
        thread::scope(|scope| {
            for link in self.0.drain(..) {
                // Without a thread it goes here.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
    }
}
