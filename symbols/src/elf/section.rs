//! The bytes of one section.

use std::borrow::Cow;
use std::ops::Deref;

use crate::budget::Charge;

/// Bytes of a section: those of the file, or decompressed and counted while they live.
#[derive(Debug, Default)]
pub struct Section<'p> {
    bytes: Cow<'p, [u8]>,
    _charge: Option<Charge>,
}

impl<'p> Section<'p> {
    pub(super) fn new(bytes: Cow<'p, [u8]>, charge: Option<Charge>) -> Self {
        Self { bytes, _charge: charge }
    }
}

impl Deref for Section<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Section<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
