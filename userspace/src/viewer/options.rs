//! What the viewer starts with, and what its user switches.

use std::time::Duration;

use foreign::Charset;

use super::link_rate::LinkRate;
use super::palette::Colors;

/// What the viewer starts with; the user changes all but the colours by keys.
#[derive(Clone, Debug)]
pub struct ViewerOptions {
    /// Link that the estimate of a migration assumes.
    pub link_rate: LinkRate,
    /// Time between snapshots, as the agent was started with.
    pub refresh: Duration,
    /// Whether the agent traces already.
    pub tracing: bool,
    /// Whether the agent looks up frames in the trace already.
    pub walking: bool,
    /// Colours of the terminal.
    pub colors: Colors,
    /// Characters of the terminal.
    pub charset: Charset,
}

impl Default for ViewerOptions {
    /// 1 Gbit/s, a snapshot a second, no tracing, colours and characters as the environment sets them.
    fn default() -> Self {
        Self {
            link_rate: LinkRate::default(),
            refresh: Duration::from_secs(1),
            tracing: false,
            walking: false,
            colors: Colors::from_env(),
            charset: foreign::charset(),
        }
    }
}

/// What the user switches in the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Trace records on or off.
    Trace(bool),
    /// Frames in the trace records on or off.
    Walk(bool),
    /// Time between snapshots.
    Refresh(Duration),
}
