//! Which servers are served.

use crate::target::ServerRule;

/// Which servers, and how to know them.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which processes may be servers that are meant.
    pub rule: ServerRule,
    /// Where symbols are looked for.
    pub symbols: symbols::Options,
}
