//! One measured number, what it is held against, and the verdict.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

/// What a figure must reach. It speaks of the ratio where there is a peer, else of the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Zero,
}

impl Goal {
    fn is_met(self, number: f64) -> bool {
        match self {
            Self::AtMost(limit) => number <= limit,
            Self::AtLeast(limit) => number >= limit,
            Self::Zero => number == 0.0,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {}", Short(*limit)),
            Self::AtLeast(limit) => write!(f, ">= {}", Short(*limit)),
            Self::Zero => f.write_str("= 0"),
        }
    }
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Correctness: holds in every run.
    Truth,
    /// Time or memory: only a full run can judge it.
    Cost,
}

/// One line of the report.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    peer: Option<(&'static str, f64)>,
    goal: Option<Goal>,
    /// How far the ratio may be off.
    uncertainty: f64,
    kind: Kind,
    judged: bool,
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// Missed by less than the machine's own noise: this run cannot decide.
    Unclear,
}

impl Figure {
    /// A figure of correctness.
    pub(crate) fn truth(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self::new(Kind::Truth, name.into(), value, unit)
    }

    /// A figure of time or memory.
    pub(crate) fn cost(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self::new(Kind::Cost, name.into(), value, unit)
    }

    fn new(kind: Kind, name: String, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, peer: None, goal: None, uncertainty: 0.0, kind, judged: true }
    }

    /// Holds the value against that of a peer in the same unit.
    pub(crate) fn against(mut self, peer: &'static str, value: f64) -> Self {
        self.peer = Some((peer, value));
        self
    }

    /// How far the ratio may be off: two standard errors of what it was made of.
    pub(crate) fn within(mut self, uncertainty: f64) -> Self {
        self.uncertainty = uncertainty;
        self
    }

    /// Sets the goal.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Takes the verdict away from figures of cost: for runs that are too small for one.
    pub(crate) fn of_quick_run(mut self) -> Self {
        self.judged = self.kind == Kind::Truth;
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.peer.map(|(_, peer)| self.value / peer)
    }

    /// None for a figure without a goal, or in a run that cannot judge it.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let goal = self.goal.filter(|_| self.judged)?;
        let number = self.ratio().unwrap_or(self.value);
        let off = |number: f64| goal.is_met(number);
        Some(match () {
            () if off(number) => Verdict::Met,
            () if off(number - self.uncertainty) || off(number + self.uncertainty) => {
                Verdict::Unclear
            }
            () => Verdict::Missed,
        })
    }

    /// What it is called, and its value.
    pub(crate) fn named(&self) -> (&str, f64) {
        (&self.name, self.value)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58} {:>9} {:<6}", self.name, Short(self.value), self.unit)?;
        if let (Some((peer, value)), Some(ratio)) = (self.peer, self.ratio()) {
            write!(f, "  vs {peer} {}  ratio {}", Short(value), Short(ratio))?;
        }
        if self.uncertainty > 0.0 {
            write!(f, " +- {}", Short(self.uncertainty))?;
        }
        if let Some(goal) = self.goal {
            let verdict = match self.verdict() {
                Some(Verdict::Met) => "ok",
                Some(Verdict::Missed) => "FAIL",
                Some(Verdict::Unclear) => "UNCLEAR (missed within this machine's noise)",
                None => "(not judged)",
            };
            write!(f, "  {goal}  {verdict}")?;
        }
        Ok(())
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Figure", 9)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("value", &self.value)?;
        fields.serialize_field("unit", self.unit)?;
        fields.serialize_field("peer", &self.peer.map(|(name, _)| name))?;
        fields.serialize_field("peer_value", &self.peer.map(|(_, value)| value))?;
        fields.serialize_field("ratio", &self.ratio())?;
        fields.serialize_field("uncertainty", &self.uncertainty)?;
        fields.serialize_field("target", &self.goal.map(|goal| goal.to_string()))?;
        let ok = match self.verdict() {
            Some(Verdict::Met) => Some(true),
            Some(Verdict::Missed) => Some(false),
            Some(Verdict::Unclear) | None => None,
        };
        fields.serialize_field("ok", &ok)?;
        fields.end()
    }
}

/// A number with about four significant digits.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0.abs() {
            size if self.0.fract() == 0.0 && size < 1e15 => format!("{:.0}", self.0),
            size if size >= 1000.0 => format!("{:.0}", self.0),
            size if size >= 100.0 => format!("{:.1}", self.0),
            size if size >= 10.0 => format!("{:.2}", self.0),
            size if size >= 0.1 => format!("{:.3}", self.0),
            _ => format!("{:.5}", self.0),
        };
        let short = if text.contains('.') { text.trim_end_matches('0') } else { &text };
        f.pad(short.trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_judge_the_ratio_or_the_value() {
        let list = Figure::cost("list", 15.0, "ms").against("raw", 10.0);
        assert_eq!(list.clone().goal(Goal::AtMost(1.5)).verdict(), Some(Verdict::Met));
        assert_eq!(list.clone().goal(Goal::AtMost(1.4)).verdict(), Some(Verdict::Missed));
        assert_eq!(list.clone().goal(Goal::AtMost(1.4)).of_quick_run().verdict(), None);
        assert_eq!(list.verdict(), None);
        let drift = Figure::truth("drift", 1.0, "blocks").goal(Goal::Zero);
        assert_eq!(
            drift.of_quick_run().verdict(),
            Some(Verdict::Missed),
            "a short run must be right too"
        );
        let noisy = Figure::cost("tps", 97.0, "1/s").against("without", 100.0).within(0.025);
        assert_eq!(noisy.clone().goal(Goal::AtLeast(0.99)).verdict(), Some(Verdict::Unclear));
        assert_eq!(noisy.goal(Goal::AtLeast(0.999)).verdict(), Some(Verdict::Missed));
        let nothing = Figure::cost("tps", f64::NAN, "1/s").goal(Goal::AtLeast(0.0));
        assert_eq!(nothing.verdict(), Some(Verdict::Missed), "no number is no success");
    }

    #[test]
    fn a_figure_reads_as_one_line() {
        let figure = Figure::cost("list", 15.25, "ms").against("raw", 10.0).goal(Goal::AtMost(1.5));
        let words: Vec<String> = figure.to_string().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), "list 15.25 ms vs raw 10 ratio 1.525 <= 1.5 FAIL");
    }
}
