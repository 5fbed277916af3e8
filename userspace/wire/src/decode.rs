//! Reading a list that may be hostile.

use page_number::{PAGE_SHIFT, UNIT_SHIFT};
use thiserror::Error;

use crate::{
    Bounds, Device, Facts, HEADER_BYTES, MAGIC, MAX_DEVICES, MAX_NAME_BYTES, MAX_TABLE_BYTES,
    RUN_BYTES, Run, VERSION,
};

/// The bytes are no list that this version reads.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// Fewer bytes than the header states.
    #[error("the page list is cut short: {have} bytes, {need} needed")]
    Short {
        /// Bytes there.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// Not a list.
    #[error("not a page list (wrong magic number)")]
    Magic,
    /// Another version of the format.
    #[error("page list of version {found}, this program reads version {VERSION}")]
    Version {
        /// Version found.
        found: u16,
    },
    /// A length or unit that this version does not use.
    #[error("the page list's {what} is {found}")]
    Unexpected {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// More than the format or the VM's RAM allows.
    #[error("the page list has {found} {what}, at most {most} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        most: u64,
    },
    /// The table of block devices contradicts itself.
    #[error("the page list's table of block devices is malformed")]
    Devices,
    /// A run names a device that is not in the table.
    #[error("run {index} names block device {device} of {devices}")]
    NoDevice {
        /// Index of the run.
        index: u64,
        /// Device that it names.
        device: u16,
        /// Number of devices.
        devices: usize,
    },
    /// Runs out of order.
    #[error("run {index} stands before the run before it")]
    Order {
        /// Index of the run.
        index: u64,
    },
}

/// The header, within bounds.
pub(crate) struct Header {
    pub(crate) facts: Facts,
    devices: usize,
    /// Length of the table in bytes.
    pub(crate) table: usize,
    pub(crate) runs: u64,
}

impl Header {
    /// Reads the header that `bytes` begin with.
    pub(crate) fn parse(bytes: &[u8], bounds: Bounds) -> Result<Self, ListError> {
        if bytes.len() < HEADER_BYTES {
            return Err(ListError::Short { have: bytes.len() as u64, need: HEADER_BYTES as u64 });
        }
        if bytes[..8] != MAGIC {
            return Err(ListError::Magic);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(ListError::Version { found: version });
        }
        let expected = [
            ("header length", number(bytes, 10, 2), HEADER_BYTES as u64),
            ("run length", number(bytes, 12, 2), RUN_BYTES as u64),
            ("frame size", u64::from(bytes[14]), u64::from(PAGE_SHIFT)),
            ("disk unit", u64::from(bytes[15]), u64::from(UNIT_SHIFT)),
        ];
        for (what, found, wanted) in expected {
            if found != wanted {
                return Err(ListError::Unexpected { what, found });
            }
        }
        let (devices, table, runs) =
            (number(bytes, 20, 4), number(bytes, 24, 8), number(bytes, 32, 8));
        for (what, found, most) in [
            ("block devices", devices, MAX_DEVICES as u64),
            ("bytes of names", table, MAX_TABLE_BYTES as u64),
            ("runs", runs, bounds.runs()),
        ] {
            if found > most {
                return Err(ListError::TooMany { what, found, most });
            }
        }
        let index = |number| usize::try_from(number).map_err(|_| ListError::Devices);
        let facts = Facts {
            page_size: u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
            pages: number(bytes, 40, 8),
            begun_ns: number(bytes, 48, 8),
            done_ns: number(bytes, 56, 8),
        };
        Ok(Self { facts, devices: index(devices)?, table: index(table)?, runs })
    }

    /// Bytes of the whole list. Nothing overflows: all of it is within bounds.
    pub(crate) const fn bytes(&self) -> u64 {
        (HEADER_BYTES + self.table) as u64 + self.runs * RUN_BYTES as u64
    }

    /// The devices of the table, which they fill.
    pub(crate) fn devices(&self, mut table: &[u8]) -> Result<Vec<Device>, ListError> {
        let mut devices = Vec::with_capacity(self.devices);
        for _ in 0..self.devices {
            let [kind_low, kind, len_low, len, ..] = *table else { return Err(ListError::Devices) };
            let len = usize::from(u16::from_le_bytes([len_low, len]));
            let entry = (4 + len).next_multiple_of(8);
            let (entry, rest) = table.split_at_checked(entry).ok_or(ListError::Devices)?;
            let name = entry.get(4..4 + len).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.filter(|_| len <= MAX_NAME_BYTES).ok_or(ListError::Devices)?;
            devices.push(match u16::from_le_bytes([kind_low, kind]) {
                Device::DISK => Device::Disk(name.to_owned()),
                Device::SHARE_FILE => Device::ShareFile(name.to_owned()),
                _ => return Err(ListError::Devices),
            });
            table = rest;
        }
        if table.is_empty() { Ok(devices) } else { Err(ListError::Devices) }
    }
}

/// Looks at runs one after the other.
pub(crate) struct Sequence {
    devices: usize,
    last: Option<Run>,
    index: u64,
}

impl Sequence {
    pub(crate) const fn new(devices: usize) -> Self {
        Self { devices, last: None, index: 0 }
    }

    /// Whether the next run may stand where it stands.
    pub(crate) fn check(&mut self, run: Run) -> Result<(), ListError> {
        let index = self.index;
        if usize::from(run.device()) >= self.devices {
            return Err(ListError::NoDevice { index, device: run.device(), devices: self.devices });
        }
        if self.last.is_some_and(|last| last > run) {
            return Err(ListError::Order { index });
        }
        self.last = Some(run);
        self.index += 1;
        Ok(())
    }
}

/// A parsed list; borrows the runs.
#[derive(Clone, Debug)]
pub struct List<'a> {
    facts: Facts,
    devices: Vec<Device>,
    runs: &'a [[u8; RUN_BYTES]],
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(found) = bytes.get(at..at + len) {
        word[..len].copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

impl<'a> List<'a> {
    /// Checks the header, the devices table and the order of all runs, in one pass.
    ///
    /// # Errors
    /// When anything does not hold; the list is then of no use at all.
    pub fn parse(bytes: &'a [u8], bounds: Bounds) -> Result<Self, ListError> {
        let header = Header::parse(bytes, bounds)?;
        let (have, need) = (bytes.len() as u64, header.bytes());
        let short = || ListError::Short { have, need };
        let end = usize::try_from(need).map_err(|_| short())?;
        let table_end = HEADER_BYTES + header.table;
        let (table, runs) =
            bytes.get(HEADER_BYTES..table_end).zip(bytes.get(table_end..end)).ok_or_else(short)?;
        let list =
            Self { facts: header.facts, devices: header.devices(table)?, runs: runs.as_chunks().0 };
        let mut sequence = Sequence::new(list.devices.len());
        list.runs().try_for_each(|run| sequence.check(run))?;
        Ok(list)
    }

    /// Numbers of the header.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// The devices, by the index that runs use; at most [`MAX_DEVICES`].
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The runs in order.
    #[must_use]
    pub fn runs(&self) -> Runs<'a> {
        Runs { rest: self.runs.iter() }
    }
}

/// Iterator over the runs.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rest: std::slice::Iter<'a, [u8; RUN_BYTES]>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.rest.next().map(Run::from_bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Runs<'_> {}
