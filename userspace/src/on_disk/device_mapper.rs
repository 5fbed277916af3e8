//! The table of a device-mapper device (LVM): which sectors of it are which sectors of what.
//!
//! Read from the kernel itself, by `DM_TABLE_STATUS` on its control device. Layouts and values from
//! `include/uapi/linux/dm-ioctl.h`, interface version 4. That needs CAP_SYS_ADMIN and changes
//! nothing.

#![expect(unsafe_code, reason = "an ioctl with a variable-length buffer, which no crate wraps")]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use super::ids::DeviceId;

const CONTROL: &str = "/dev/mapper/control";
/// Largest table that is read; a target is about 60 bytes.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// `DM_STATUS_TABLE_FLAG`: the parameters of each target, not its state.
const STATUS_TABLE: u32 = 1 << 4;
/// `DM_BUFFER_FULL_FLAG`: the answer did not fit.
const BUFFER_FULL: u32 = 1 << 8;

/// `struct dm_ioctl`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec`: start and length in sectors, state, offset of the next one from the
/// first, type; parameters follow as a string.
const SPEC_BYTES: usize = 40;

/// `_IOWR(DM_IOCTL, DM_TABLE_STATUS_CMD, struct dm_ioctl)`
const DM_TABLE_STATUS: libc::Ioctl = libc::_IOWR::<Header>(0xfd, 12);

const _: () = assert!(size_of::<Header>() == 312);
const _: () = assert!(DM_TABLE_STATUS == 0xc138_fd0c);

/// One row of a table; sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DmTarget {
    pub(crate) start_sector: u64,
    pub(crate) sectors: u64,
    /// The device and the sector on it where a `linear` target begins; `None` for any other type.
    pub(crate) linear: Option<(DeviceId, u64)>,
}

/// Reads the live table of a device.
///
/// # Errors
/// When there is no device mapper, no permission, no such device, or an answer that makes no sense.
pub(crate) fn table(device: DeviceId) -> io::Result<Vec<DmTarget>> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let mut bytes = 16 * 1024;
    while bytes <= MAX_TABLE_BYTES {
        let (header, buffer) = query(&control, device, bytes)?;
        if header.flags & BUFFER_FULL == 0 {
            let start = usize::try_from(header.data_start).unwrap_or(usize::MAX);
            let data = buffer.get(start..).unwrap_or_default();
            return parse(data, header.target_count).ok_or_else(invalid);
        }
        bytes *= 4;
    }
    Err(invalid())
}

fn query(control: &File, device: DeviceId, bytes: usize) -> io::Result<(Header, Vec<u8>)> {
    const WORD: usize = size_of::<u64>();
    let header = Header {
        version: [4, 0, 0],
        data_size: u32::try_from(bytes).map_err(|_| invalid())?,
        data_start: u32::try_from(size_of::<Header>()).map_err(|_| invalid())?,
        target_count: 0,
        open_count: 0,
        flags: STATUS_TABLE,
        event_nr: 0,
        padding: 0,
        dev: libc::makedev(device.major, device.minor),
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    let mut buffer = vec![0_u64; bytes.div_ceil(WORD)]; // words, for the header's alignment
    let place = buffer.as_mut_ptr().cast::<Header>();
    // SAFETY: `bytes` is at least 16 KiB, so the buffer has room for a `Header`, and it is aligned
    // to 8 as a `Header` is.
    unsafe { place.write(header) };
    // SAFETY: the descriptor is open for as long as `control` is borrowed; the kernel writes at
    // most `data_size` bytes, the size of the buffer.
    if unsafe { libc::ioctl(control.as_raw_fd(), DM_TABLE_STATUS, place) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as for the write above; every bit pattern is valid for the fields of a `Header`.
    let header = unsafe { place.read() };
    Ok((header, buffer.iter().flat_map(|word| word.to_ne_bytes()).collect()))
}

/// Reads the targets behind the header; `None` when they do not hold together.
pub(super) fn parse(data: &[u8], count: u32) -> Option<Vec<DmTarget>> {
    let mut targets = Vec::new();
    let mut at = 0_usize;
    for _ in 0..count {
        let spec = data.get(at..at.checked_add(SPEC_BYTES)?)?;
        let word = |at: usize| Some(u64::from_ne_bytes(spec.get(at..at + 8)?.try_into().ok()?));
        let next = u32::from_ne_bytes(spec.get(20..24)?.try_into().ok()?);
        let kind = text(spec.get(24..)?)?;
        let parameters = text(data.get(at + SPEC_BYTES..)?)?;
        targets.push(DmTarget {
            start_sector: word(0)?,
            sectors: word(8)?,
            linear: (kind == "linear").then(|| linear(parameters)).flatten(),
        });
        let next = usize::try_from(next).ok()?;
        if next <= at {
            break; // the last one; an offset that goes back would never end
        }
        at = next;
    }
    (targets.len() == usize::try_from(count).ok()?).then_some(targets)
}

/// Parameters of a linear target: `major:minor sector`.
fn linear(parameters: &str) -> Option<(DeviceId, u64)> {
    let (device, sector) = parameters.trim().split_once(' ')?;
    Some((DeviceId::parse(device)?, sector.parse().ok()?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(start: u64, sectors: u64, next: u32, kind: &str, parameters: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(start.to_ne_bytes());
        bytes.extend(sectors.to_ne_bytes());
        bytes.extend(0_i32.to_ne_bytes());
        bytes.extend(next.to_ne_bytes());
        bytes.extend(kind.bytes());
        bytes.resize(SPEC_BYTES, 0);
        bytes.extend(parameters.bytes());
        bytes.resize(bytes.len() / 8 * 8 + 8, 0);
        bytes
    }

    /// As the kernel lays it out (`retrieve_status`, drivers/md/dm-ioctl.c): `next` counts from the
    /// first target.
    #[test]
    fn a_table_of_two_kinds() {
        let mut data = spec(0, 2048, 56, "linear", "8:1 4096");
        assert_eq!(data.len(), 56);
        data.extend(spec(2048, 1000, 112, "crypt", "aes-xts 0 8:2 0"));
        let device = DeviceId { major: 8, minor: 1 };
        let linear = DmTarget { start_sector: 0, sectors: 2048, linear: Some((device, 4096)) };
        let other = DmTarget { start_sector: 2048, sectors: 1000, linear: None };
        assert_eq!(parse(&data, 2), Some(vec![linear, other]));
        assert_eq!(parse(&data, 3), None);
    }

    proptest! {
        /// Whatever the bytes are, reading them ends, with no more targets than were announced.
        #[test]
        fn any_answer_is_read(data in prop::collection::vec(any::<u8>(), 0..300), count in 0_u32..9) {
            if let Some(targets) = parse(&data, count) {
                prop_assert_eq!(targets.len(), usize::try_from(count).unwrap());
            }
        }
    }
}
