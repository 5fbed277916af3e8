//! What holds probes in place, for both programs that set some.

use std::thread;
use std::vec::Vec;

use aya::programs::uprobe::UProbeLink;

/// Attached probes; dropped, they are taken out.
#[derive(Debug, Default)]
pub struct Links(Vec<UProbeLink>);

impl Links {
    /// One more.
    pub fn add(&mut self, link: UProbeLink) {
        self.0.push(link);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Links {
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
