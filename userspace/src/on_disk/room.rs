//! How many bytes something may still take.

/// Bytes that are left.
#[derive(Debug, Default)]
pub(crate) struct Room(usize);

impl Room {
    /// So many.
    pub(crate) const fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Whether there are so many.
    pub(crate) const fn has(&self, bytes: usize) -> bool {
        bytes <= self.0
    }

    /// Takes them, where there are so many.
    pub(crate) const fn take(&mut self, bytes: usize) -> bool {
        let has = self.has(bytes);
        if has {
            self.0 -= bytes;
        }
        has
    }

    /// They are free again.
    pub(crate) const fn give_back(&mut self, bytes: usize) {
        self.0 += bytes;
    }
}
