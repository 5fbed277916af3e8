//! An error with its causes, as people read it.

use std::error::Error;
use std::fmt;

use crate::shown::of;

/// Most causes that are shown.
const CAUSES: usize = 20;

/// Longest text of each, in bytes: the log of the kernel's verifier is long.
const CAUSE_BYTES: usize = 4096;

/// An error and what caused it, parted by `: ` in one line, or each on a line of its own (`{:#}`).
///
/// Libraries repeat the text of what they wrap; once is enough.
#[derive(Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if f.alternate() { "\n  caused by: " } else { ": " };
        let mut written = of(self.0).at_most(CAUSE_BYTES).to_string();
        f.write_str(&written)?;
        let mut source = self.0.source();
        for _ in 0..CAUSES {
            let Some(cause) = source else { break };
            let text = of(cause).at_most(CAUSE_BYTES).to_string();
            if !written.contains(&text) {
                write!(f, "{between}{text}")?;
            }
            written = text;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("failed to open `a\nhint: forged`")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn each_cause_is_one_line() {
        let error = Outer(io::Error::other("no\u{1b}c"));
        let first = "failed to open `a\\nhint: forged`";
        assert_eq!(Chain(&error).to_string(), format!("{first}: no\\u{{1b}}c"));
        assert_eq!(format!("{:#}", Chain(&error)), format!("{first}\n  caused by: no\\u{{1b}}c"));
    }
}
