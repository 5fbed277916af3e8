//! The buffers of a restore, some of them for each device alone.
//!
//! A device that stalls keeps the buffers of its requests until it answers. So none gets those that others
//! need to go on: with `n` buffers and `d` devices each has `n / 4`, at most `n / 2d` and at least one, to itself, and the rest
//! is for the device that comes first. One device alone has all.

/// How many buffers of a restore are free.
#[derive(Debug)]
pub(super) struct Buffers {
    /// By device; nothing where it is not read, and none where it is the only one that is.
    own: Vec<Option<usize>>,
    common: usize,
}

/// Whose a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The device's own.
    Own,
    Common,
}

impl Buffers {
    /// So many buffers in all, or as many as there are devices. `is_read` has an entry for each device: whether it is read.
    pub(super) fn new(count: usize, is_read: &[bool]) -> Self {
        let devices = is_read.iter().filter(|is_read| **is_read).count();
        let own = match devices {
            0 | 1 => 0,
            devices => (count / 4).min(count / (2 * devices)).max(1),
        };
        let common = count.saturating_sub(own * devices);
        Self { own: is_read.iter().map(|is_read| is_read.then_some(own)).collect(), common }
    }

    /// All of them, while none is taken.
    pub(super) fn count(&self) -> usize {
        self.common + self.own.iter().flatten().sum::<usize>()
    }

    /// Takes a buffer for the device of this index, its own first.
    pub(super) fn take(&mut self, device: usize) -> Option<Share> {
        let (free, share) = match self.own.get_mut(device) {
            Some(Some(own)) if *own > 0 => (own, Share::Own),
            _ => (&mut self.common, Share::Common),
        };
        *free = free.checked_sub(1)?;
        Some(share)
    }

    /// Takes it back.
    pub(super) fn give(&mut self, device: usize, share: Share) {
        match (share, self.own.get_mut(device)) {
            (Share::Own, Some(Some(own))) => *own += 1,
            _ => self.common += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many buffers as the device of this index gets.
    fn drained(buffers: &mut Buffers, device: usize) -> Vec<Share> {
        std::iter::from_fn(|| buffers.take(device)).collect()
    }

    #[test]
    fn no_device_gets_the_last_buffer_of_another() {
        // Buffers, devices, what one of them gets that takes all, and then each other one.
        for (count, devices, greedy, others) in
            [(8, 1, 8, 0), (8, 2, 6, 2), (10, 4, 7, 1), (32, 2, 24, 8), (2, 2, 1, 1), (1, 3, 1, 1)]
        {
            // The first device is that of the zero pages, which are read nowhere.
            let is_read: Vec<bool> = (0..=devices).map(|device| device > 0).collect();
            let mut buffers = Buffers::new(count, &is_read);
            let all = buffers.count();
            let mut held = vec![(devices, drained(&mut buffers, devices))];
            for device in 1..devices {
                held.push((device, drained(&mut buffers, device)));
            }
            let got: Vec<usize> = held.iter().map(|(_, shares)| shares.len()).collect();
            let mut expected = vec![greedy];
            expected.resize(devices, others);
            assert_eq!(got, expected, "{count} buffers, {devices} devices");
            assert!(got.iter().sum::<usize>() <= count.max(devices));
            for (device, shares) in held {
                shares.into_iter().for_each(|share| buffers.give(device, share));
            }
            assert_eq!(buffers.count(), all);
            assert_eq!(drained(&mut buffers, 1).len(), greedy, "all came back");
        }
    }
}
