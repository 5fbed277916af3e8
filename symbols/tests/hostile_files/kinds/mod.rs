//! The kinds of lies.

mod code;
mod headers;
mod layout;
mod links;
mod lists;
mod packed;
mod references;
mod symbols;
mod units;
mod unwind;

use super::Collection;

pub(super) fn add(files: &mut Collection) {
    headers::add(files);
    layout::add(files);
    packed::add(files);
    units::add(files);
    references::add(files);
    lists::add(files);
    links::add(files);
    symbols::add(files);
    code::add(files);
    unwind::add(files);
}

/// Numbers of `len` bytes that somebody would put in the place of `was`.
fn odd(was: u64, len: usize) -> [u64; 3] {
    [0, u64::MAX, was.wrapping_add(1)]
        .map(|value| if len == 8 { value } else { value & ((1 << (8 * len)) - 1) })
}
