//! Why the bytes of a page are on no disk that the destination could read: a value, not an error.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a page, or a whole file, has no usable place on disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NotOnDisk {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl NotOnDisk {
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
    /// No file with this space id is known: dropped, or closed and outside the data directory.
    SpaceNotOpen = "space-not-open",
    /// The file has no name any more; the server still holds it open.
    Dropped = "dropped",
    /// A temporary tablespace: made anew at every start, its pages may live in memory only.
    Temporary = "temporary",
    /// The disk holds ciphertext.
    Encrypted = "encrypted",
    /// `ROW_FORMAT=COMPRESSED`: the uncompressed frame is on no disk.
    Compressed = "compressed",
    /// Transparent page compression: the disk holds a compressed image and a hole.
    PageCompressed = "page-compressed",
    /// The first page of a file: the server writes header fields there past the buffer pool
    /// (`fil_write_flushed_lsn`, MySQL 5.6 and 5.7).
    FirstPage = "first-page",
    /// The page lies, wholly or partly, past the end of the file, or between two files.
    BeyondEof = "beyond-eof",
    /// Several files claim this space, and none of them is the one that the server holds open.
    AmbiguousSpace = "ambiguous-space",
    /// The file's first page still reads zero: it was created a moment ago.
    HeaderUnwritten = "header-unwritten",
    /// The file's first page is not that of a data file.
    HeaderInvalid = "header-invalid",
    /// The space flags say something this version does not know.
    UnknownFlags = "unknown-flags",
    /// The file could not be opened or read.
    FileUnreadable = "file-unreadable",
    /// Another file has taken the place of the one that was looked up.
    FileChanged = "file-changed",
    /// Nothing is allocated there.
    ExtentHole = "extent-hole",
    /// Allocated and never written: reads zero whatever the disk holds.
    ExtentUnwritten = "extent-unwritten",
    /// Written by the server, not yet given a place by the file system.
    ExtentDelayed = "extent-delayed",
    /// Shared with another file (reflink): the next write moves it elsewhere.
    ExtentShared = "extent-shared",
    /// Compressed or encrypted by the file system.
    ExtentEncoded = "extent-encoded",
    /// Stored within the file system's own metadata, or not aligned to blocks.
    ExtentInline = "extent-inline",
    /// The file system does not say where the data is.
    ExtentUnknown = "extent-unknown",
    /// More extents than this program is ready to keep.
    ExtentsTooMany = "extents-too-many",
    /// The file system moves data on every write (btrfs, bcachefs, ZFS).
    CopyOnWrite = "copy-on-write",
    /// The file lies on an overlay, which does not say on which of its layers.
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

impl fmt::Display for NotOnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for NotOnDisk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are a contract: kebab case and no two alike.
    #[test]
    fn names_are_distinct_and_plain() {
        let mut names: Vec<_> = NotOnDisk::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NotOnDisk::ALL.len());
    }
}
