//! What is printed on standard error: an error with its causes, and the remedy.

use std::fmt;

use foreign::Text;

/// The remedy of an error, as its last context: printed on a line of its own.
#[derive(Debug)]
pub(crate) struct Hint(Text);

impl Hint {
    pub(crate) fn new(hint: impl Into<Text>) -> Self {
        Self(hint.into())
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error with its causes, then the remedy.
pub(crate) fn report(error: &anyhow::Error) {
    let hint = error.downcast_ref::<Hint>();
    let first = error.chain().nth(usize::from(hint.is_some()));
    if let Some(first) = first {
        write_error(&format!("error: {}", foreign::Chain(first)));
    }
    if let Some(hint) = hint {
        write_error(&format!("hint: {hint}"));
    }
}

/// Prints it on standard error; a slow reader delays nothing.
pub(crate) fn write_error(text: &str) {
    outlet::stderr().push(format!("{text}\n").as_bytes());
}
