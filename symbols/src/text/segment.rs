//! A mapped part of a program file.

/// A part of the file that is mapped when the program runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) addr: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) executable: bool,
}
