//! How long a list will be.

use crate::{Device, HEADER_BYTES, RUN_BYTES};

/// Bytes of a list of `runs` runs on `devices`, as [`encode`](crate::encode) writes it.
#[must_use]
pub fn encoded_bytes(devices: &[Device], runs: u64) -> u64 {
    let entry = |device: &Device| (4 + device.name().len() as u64).next_multiple_of(8);
    let table: u64 = devices.iter().map(entry).sum();
    (HEADER_BYTES as u64 + table).saturating_add(runs.saturating_mul(RUN_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, Run, encode};

    #[test]
    fn it_is_as_long_as_what_is_written() {
        let names = ["", "a", "abcd", "abcde", "serial:0123456789"];
        let devices = names.map(|name| Device::Disk(name.to_owned()));
        for count in [0, 1, 5000] {
            let runs = (0..count).filter_map(|n| Run::new(n * 2, 1, 0, n * 16));
            let mut bytes = Vec::new();
            encode(&mut bytes, &Facts::default(), &devices, count, runs).unwrap();
            assert_eq!(bytes.len() as u64, encoded_bytes(&devices, count));
        }
    }
}
