//! Whether what is shown can be believed: losses, drift, faults.

use ratatui::text::{Line, Span};

use crate::model::Snapshot;

use super::super::palette::Palette;
use super::super::units;

/// Counts that should be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Trace records lost.
    pub(super) lost: u64,
    /// Probe hits whose memory could not be read.
    pub(super) faults: u64,
    /// Blocks whose update was lost.
    pub(super) drift: u64,
    /// Of these, blocks wrongly held clean.
    pub(super) falsely_clean: u64,
}

impl Health {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let sum = |count: fn(&crate::model::ProbeRow) -> u64| {
            snapshot.probes.iter().map(count).fold(0, u64::saturating_add)
        };
        Self {
            lost: sum(|probe| probe.ring_lost),
            faults: sum(|probe| probe.faults),
            drift: snapshot.audit.drift,
            falsely_clean: snapshot.audit.falsely_clean,
        }
    }

    pub(super) fn is_good(self) -> bool {
        self == Self::default()
    }

    /// One line; everything that is not zero in red.
    pub(super) fn line(self, scans: u64, palette: Palette) -> Line<'static> {
        if self.is_good() {
            let words = match scans {
                0 => "no losses · not audited yet".to_owned(),
                1 => "no losses · no drift in 1 audit".to_owned(),
                _ => format!("no losses · no drift in {} audits", units::count(scans)),
            };
            return Line::styled(words, palette.dim());
        }
        let counts = [
            ("drift", self.drift),
            ("falsely clean", self.falsely_clean),
            ("faults", self.faults),
            ("trace records lost", self.lost),
        ];
        let mut spans = Vec::new();
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            if !spans.is_empty() {
                spans.push(Span::raw(" "));
            }
            spans.push(Span::styled(format!(" {} {name} ", units::count(count)), palette.alarm()));
        }
        Line::from(spans)
    }
}
