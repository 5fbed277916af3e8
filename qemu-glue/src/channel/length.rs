//! How long frames are, and how many of each thing they may name.

/// Longest frame without its length, in bytes.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;
/// Bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Longest first frame, a hello or a refusal, in bytes.
pub(super) const MAX_FIRST_BYTES: usize = 16 << 10;
/// Most capabilities, and most RAM blocks, that an offer names.
pub(super) const MAX_NAMES: usize = 1024;
/// Most warnings of a last word.
pub const MAX_WARNINGS: usize = 100;
