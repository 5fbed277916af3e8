//! Why the bytes of a page are on no disk that the destination could read: a value, not an error.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::on_disk::Unmapped;

/// Why a page, or a whole data file, has no usable extent on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotOnDisk {
    /// No file with this space id is known: dropped, or closed and outside the data directory.
    SpaceNotOpen,
    /// The file has no name any more; the server still holds it open.
    Dropped,
    /// A temporary tablespace: made anew at every start, its pages may live in memory only.
    Temporary,
    /// The disk holds ciphertext.
    Encrypted,
    /// `ROW_FORMAT=COMPRESSED`: the uncompressed frame is on no disk.
    Compressed,
    /// Transparent page compression: the disk holds a compressed image and a hole.
    PageCompressed,
    /// The first page of a file: the server writes header fields there past the buffer pool
    /// (`fil_write_flushed_lsn`, MySQL 5.6 and 5.7).
    FirstPage,
    /// Several files claim this space, and none of them is the one that the server holds open.
    AmbiguousSpace,
    /// The file's first page still reads zero: it was created a moment ago.
    HeaderUnwritten,
    /// The file's first page is not that of a data file.
    HeaderInvalid,
    /// The space flags have a value that this version does not know.
    UnknownFlags,
    /// The file, or the page's range of it, has no place. A page may also lie between two files of its space.
    File(Unmapped),
}

impl NotOnDisk {
    /// The stable name, part of the output contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpaceNotOpen => "space-not-open",
            Self::Dropped => "dropped",
            Self::Temporary => "temporary",
            Self::Encrypted => "encrypted",
            Self::Compressed => "compressed",
            Self::PageCompressed => "page-compressed",
            Self::FirstPage => "first-page",
            Self::AmbiguousSpace => "ambiguous-space",
            Self::HeaderUnwritten => "header-unwritten",
            Self::HeaderInvalid => "header-invalid",
            Self::UnknownFlags => "unknown-flags",
            Self::File(reason) => reason.name(),
        }
    }
}

impl From<Unmapped> for NotOnDisk {
    /// Head there and tail missing: MySQL punches the tail of a compressed page.
    fn from(reason: Unmapped) -> Self {
        match reason {
            Unmapped::ExtentCut => Self::PageCompressed,
            reason => Self::File(reason),
        }
    }
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
        let own = [
            NotOnDisk::SpaceNotOpen,
            NotOnDisk::Dropped,
            NotOnDisk::Temporary,
            NotOnDisk::Encrypted,
            NotOnDisk::Compressed,
            NotOnDisk::PageCompressed,
            NotOnDisk::FirstPage,
            NotOnDisk::AmbiguousSpace,
            NotOnDisk::HeaderUnwritten,
            NotOnDisk::HeaderInvalid,
            NotOnDisk::UnknownFlags,
        ];
        let all =
            own.into_iter().chain(Unmapped::ALL.iter().map(|reason| NotOnDisk::File(*reason)));
        let mut names: Vec<_> = all.map(NotOnDisk::name).collect();
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(NotOnDisk::from(Unmapped::ExtentCut), NotOnDisk::PageCompressed);
    }
}
