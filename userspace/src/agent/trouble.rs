//! Errors as the host gets them.

use std::error::Error;

use foreign::Text;
use page_wire::protocol::Trouble;

/// The error with its causes in one line, and what to do.
pub(super) fn trouble(error: &(dyn Error + 'static), hint: Option<Text>) -> Trouble {
    Trouble::new(Text::of(&foreign::Chain(error)), hint)
}
