//! A figure of the page: a chart with its title, and the colours of the ways to migrate.

use maud::{Markup, html};

use crate::cell::{self, Comparison};
use crate::chart;

/// A chart with what it shows; `None` where there is nothing to show.
pub(super) struct Figure {
    pub(super) title: String,
    /// How to read it, in a sentence.
    pub(super) caption: &'static str,
    pub(super) drawing: Markup,
}

impl Figure {
    pub(super) fn draw(&self) -> Markup {
        html! {
            figure {
                figcaption { h3 { (self.title) } p { (self.caption) } }
                (self.drawing)
            }
        }
    }
}

/// The colour of a way to migrate, the same in all charts.
pub(super) fn colour(cell: &Comparison<'_>, mode: &str) -> chart::Colour {
    match mode {
        cell::STOCK => chart::Colour::Stock,
        cell::POOLFERRY => chart::Colour::Ours,
        _ => {
            let others = cell.ways.iter().filter(|way| way.mode != cell::STOCK);
            chart::Colour::Other(others.take_while(|way| way.mode != mode).count())
        }
    }
}
