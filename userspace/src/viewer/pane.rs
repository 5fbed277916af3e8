//! The parts of the screen.

/// The parts of the screen that keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Pool,
    Tables,
    Probes,
    Trace,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Pool, Self::Tables, Self::Probes, Self::Trace];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Pool => "Pool",
            Self::Tables => "Tables",
            Self::Probes => "Probes",
            Self::Trace => "Trace",
        }
    }

    pub(super) const fn moved(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}
