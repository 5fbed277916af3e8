//! Why a range of a file has no place on a disk: a value, not an error.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a range of a file, or the whole of it, has no usable extent on disks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Unmapped {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Unmapped {
            /// Every reason, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name, part of the output contract.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// It lies, wholly or partly, past the end of the file.
    BeyondEof = "beyond-eof",
    /// The file could not be opened or read.
    FileUnreadable = "file-unreadable",
    /// Another file has taken the place of the one that was looked up.
    FileChanged = "file-changed",
    /// Nothing is allocated there.
    ExtentHole = "extent-hole",
    /// Its beginning is allocated, and behind that is a hole.
    ExtentCut = "extent-cut",
    /// Allocated and never written: reads zero whatever the disk holds.
    ExtentUnwritten = "extent-unwritten",
    /// Written, not yet given a place by the file system.
    ExtentDelayed = "extent-delayed",
    /// Shared with another file (reflink): the next write moves it elsewhere.
    ExtentShared = "extent-shared",
    /// Compressed or encrypted by the file system.
    ExtentEncoded = "extent-encoded",
    /// Stored within the file system's own metadata, or not aligned to blocks.
    ExtentInline = "extent-inline",
    /// The file system does not report where the data is.
    ExtentUnknown = "extent-unknown",
    /// More extents than this program is ready to keep.
    ExtentsTooMany = "extents-too-many",
    /// The file system moves data on every write (btrfs, bcachefs, ZFS).
    CopyOnWrite = "copy-on-write",
    /// The file lies on an overlay, which does not report on which of its layers.
    Overlay = "overlay",
    /// A file system whose extents are not known to be addresses on one disk.
    UnsupportedFilesystem = "unsupported-filesystem",
    /// The file lies on the real-time device of XFS, which has no device number here.
    RealtimeDevice = "realtime-device",
    /// RAID, encryption, thin provisioning or another layer lies between file system and disk.
    StackedDevice = "stacked-device",
    /// The kernel does not describe the block device.
    UnknownDevice = "unknown-device",
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
