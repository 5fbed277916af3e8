//! A physical frame, by number.

/// Size of the frames that are listed; also the unit of a migration's dirty bitmap.
pub const FRAME_BYTES: u64 = page_number::PAGE_BYTES;

/// A physical frame number: the guest-physical address divided by [`FRAME_BYTES`].
///
/// 32 bits reach 16 TiB; a frame above is treated as not known, and its page is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u32);

impl Frame {
    /// Not mapped, swapped out, or out of reach. (Frame 0 belongs to the firmware.)
    pub const ABSENT: Self = Self(0);

    /// A frame by its number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(u32::try_from(number).unwrap_or(0))
    }

    /// Its number, unless absent.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        (self.0 != 0).then_some(u64::from(self.0))
    }

    /// Its guest-physical address, unless absent.
    #[must_use]
    pub fn address(self) -> Option<u64> {
        self.number().map(|number| number * FRAME_BYTES)
    }
}
