//! Small files that somebody made who wants to harm their reader: each is the honest model of a server with one kind of lie
//! in it. They are the same on every machine.
//!
//! The tests have each read once by the process without rights (`userspace/tests/foreign_files`); the fuzz targets `symbols` and
//! `probe_site` begin with them.

mod dwarf;
mod elf;
mod kinds;
mod model;

/// Name of a file beside the program, by which the program or its debug information asks for it.
pub(crate) const DEBUG: &str = "side.debug";
pub(crate) const ALTERNATE: &str = "side.alt";
pub(crate) const SPLIT: &str = "side.dwo";

/// A file, and those that its maker laid beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hostile {
    /// Kind and number, e.g. `unwind-7`.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Length of the hole after the bytes.
    pub(crate) hole: u64,
    /// Names and bytes.
    pub(crate) beside: Vec<(&'static str, Vec<u8>)>,
}

/// The model itself, which is read whole.
pub(crate) fn honest() -> Vec<u8> {
    model::model().bytes()
}

/// All hostile files, no two alike.
pub(crate) fn files() -> Vec<Hostile> {
    let mut collection = Collection::default();
    kinds::add(&mut collection);
    collection.files
}

#[derive(Default)]
struct Collection {
    files: Vec<Hostile>,
    kind: &'static str,
    number: usize,
}

impl Collection {
    /// The files that follow are of this kind.
    fn kind(&mut self, kind: &'static str) {
        (self.kind, self.number) = (kind, 0);
    }

    fn add(&mut self, bytes: Vec<u8>) {
        self.add_with(bytes, 0, Vec::new());
    }

    fn add_with(&mut self, bytes: Vec<u8>, hole: u64, beside: Vec<(&'static str, Vec<u8>)>) {
        let name = format!("{}-{}", self.kind, self.number);
        self.number += 1;
        let known =
            |other: &Hostile| (&other.bytes, other.hole, &other.beside) == (&bytes, hole, &beside);
        if !self.files.iter().any(known) {
            self.files.push(Hostile { name, bytes, hole, beside });
        }
    }
}
