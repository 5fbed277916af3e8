//! A bounded pool of page-aligned buffers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out buffers of one size, at most a fixed number at a time, and takes them back.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shared: Arc<PoolState>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct PoolState {
    /// Length of each buffer in bytes.
    length: usize,
    free: Mutex<Vec<MmapMut>>,
}

/// Page-aligned memory; back in its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// Always there until the drop.
    memory: Option<MmapMut>,
    filled: usize,
    pool: Arc<PoolState>,
    _permit: OwnedSemaphorePermit,
}

impl BufferPool {
    /// A pool of at most `count` buffers of `length` bytes, made when they are first needed.
    #[must_use]
    pub fn new(count: usize, length: usize) -> Self {
        Self {
            shared: Arc::new(PoolState { length, free: Mutex::default() }),
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// Waits for a buffer.
    ///
    /// # Errors
    /// The system's, when there is no memory for it.
    pub async fn take(&self) -> io::Result<Buffer> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = match free {
            Some(memory) => memory,
            None => MmapMut::map_anon(self.shared.length)?,
        };
        let pool = Arc::clone(&self.shared);
        Ok(Buffer { memory: Some(memory), filled: 0, pool, _permit: permit })
    }

    /// Buffers that are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }
}

impl Buffer {
    /// Bytes that it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len())
    }

    /// What a read has put there.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.filled])
    }

    /// All of it, for a read to fill.
    pub(super) fn whole(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[..])
    }

    /// Sets how much a read has put there.
    pub(super) fn set_filled(&mut self, bytes: usize) {
        self.filled = bytes.min(self.capacity());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Before the permit goes, so that who gets it finds the memory.
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.memory.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_the_count_and_used_again() {
        let pool = BufferPool::new(2, 8192);
        let one = pool.take().await.unwrap();
        let mut other = pool.take().await.unwrap();
        assert_eq!((one.capacity(), one.filled().len()), (8192, 0));
        assert_eq!(one.memory.as_ref().unwrap().as_ptr().align_offset(4096), 0);
        other.whole()[0] = 7;
        other.set_filled(1);
        assert_eq!(other.filled(), [7]);
        let short = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, pool.take()).await.is_err(), "a third buffer");
        drop(other);
        assert_eq!(pool.available(), 1);
        assert!(pool.take().await.unwrap().filled().is_empty(), "nothing of the last read shows");
    }
}
