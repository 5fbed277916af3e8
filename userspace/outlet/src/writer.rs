//! An outlet for code that can neither wait nor fail.

use std::io::{self, Write};

use crate::queue::Outlet;

impl Outlet {
    /// As [`Outlet::push`] for `write!` and loggers: one call of `write` is one message.
    #[must_use]
    pub const fn writer(&'static self) -> Writer {
        Writer(self)
    }
}

/// A [`Write`] to an outlet that never waits and never fails.
#[derive(Clone, Copy, Debug)]
pub struct Writer(&'static Outlet);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
