//! A page that lies in one piece on a device.

/// Bytes of a unit of places on a device.
pub(super) const UNIT: u64 = page_number::UNIT_BYTES;

/// A page whose bytes follow each other on one device: 12 bytes, the place as [`Run`](page_wire::Run) packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    place: [u32; 2],
    pub(super) slot: u32,
}

impl Whole {
    pub(super) fn new(device: u16, unit: u64, slot: u32) -> Option<Self> {
        if unit >> 48 != 0 {
            return None;
        }
        let place = u64::from(device) << 48 | unit;
        let low = u32::try_from(place & 0xffff_ffff).ok()?;
        Some(Self { place: [u32::try_from(place >> 32).ok()?, low], slot })
    }

    pub(super) const fn key(&self) -> u64 {
        (self.place[0] as u64) << 32 | self.place[1] as u64
    }

    pub(super) fn device(&self) -> u16 {
        u16::try_from(self.key() >> 48).unwrap_or(u16::MAX)
    }

    pub(super) const fn unit(&self) -> u64 {
        self.key() & ((1 << 48) - 1)
    }
}
