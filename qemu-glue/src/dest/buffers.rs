//! The buffers of a restore, some of them for each device alone.
//!
//! A device that stalls keeps the buffers of its requests until it answers. So none gets those that others
//! need to go on: with `n` buffers and `d` devices each has `n / 4`, at most `n / 2d` and at least one, to itself, and the rest
//! is for whoever comes first. One device alone has all.

use std::io;

use crate::storage::{Buffer, BufferPool};

/// All buffers of a restore.
pub(super) struct Buffers {
    /// By device; nothing where it is not read, and empty where it is the only one that is.
    own: Vec<Option<BufferPool>>,
    common: BufferPool,
}

impl Buffers {
    /// So many buffers of `length` bytes in all, or as many as there are devices. `is_read` tells of each
    /// device whether there is a device to read it from.
    pub(super) fn new(count: usize, length: usize, is_read: &[bool]) -> Self {
        let devices = is_read.iter().filter(|is_read| **is_read).count();
        let own = match devices {
            0 | 1 => 0,
            devices => (count / 4).min(count / (2 * devices)).max(1),
        };
        let common = BufferPool::new(count.saturating_sub(own * devices), length);
        let pool = |is_read: &bool| is_read.then(|| BufferPool::new(own, length));
        Self { own: is_read.iter().map(pool).collect(), common }
    }

    /// Waits for a buffer for the device of this index.
    ///
    /// # Errors
    /// The system's, when there is no memory for it.
    pub(super) async fn take(&self, device: usize) -> io::Result<Buffer> {
        let own = self.own.get(device).and_then(Option::as_ref);
        let Some(own) = own else { return self.common.take().await };
        tokio::select! {
            biased;
            buffer = own.take() => buffer,
            buffer = self.common.take() => buffer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// As many buffers as the device of this index gets.
    async fn drained(buffers: &Buffers, device: usize) -> Vec<Buffer> {
        let mut taken = Vec::new();
        while let Ok(buffer) = timeout(Duration::from_millis(1), buffers.take(device)).await {
            taken.push(buffer.unwrap());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn no_device_gets_the_last_buffer_of_another() {
        // Buffers, devices, what one of them gets that takes all, and then each other one.
        for (count, devices, greedy, others) in
            [(8, 1, 8, 0), (8, 2, 6, 2), (10, 4, 7, 1), (32, 2, 24, 8), (2, 2, 1, 1), (1, 3, 1, 1)]
        {
            // The first device is that of the zero pages, which are read nowhere.
            let is_read: Vec<bool> = (0..=devices).map(|device| device > 0).collect();
            let buffers = Buffers::new(count, 4096, &is_read);
            let mut held = vec![drained(&buffers, devices).await];
            for device in 1..devices {
                held.push(drained(&buffers, device).await);
            }
            let got: Vec<usize> = held.iter().map(Vec::len).collect();
            let mut expected = vec![greedy];
            expected.resize(devices, others);
            assert_eq!(got, expected, "{count} buffers, {devices} devices");
            assert!(got.iter().sum::<usize>() <= count.max(devices));
            held.clear();
            assert_eq!(drained(&buffers, 1).await.len(), greedy, "all came back");
        }
    }
}
