//! The headline figures of a cell.

use maud::{Markup, html};

use crate::cell::{Comparison, POOLFERRY, STOCK, Way};
use crate::units::Quantity;
use crate::verdict;
use migration_record::{Report, approximate};

/// A tile: what, how much, and what stock QEMU needed.
struct Tile {
    name: &'static str,
    quantity: Quantity,
    of: fn(&Report) -> Option<f64>,
}

const TILES: [Tile; 5] = [
    Tile { name: "Total time", quantity: Quantity::Seconds, of: |run| Some(run.total_time_s) },
    Tile { name: "With all before it", quantity: Quantity::Seconds, of: |run| run.command_s },
    Tile { name: "Downtime", quantity: Quantity::Milliseconds, of: |run| Some(run.downtime_ms) },
    Tile {
        name: "Migration link",
        quantity: Quantity::Bytes,
        of: |run| Some(approximate(run.network_bytes)),
    },
    Tile {
        name: "Storage link",
        quantity: Quantity::Bytes,
        of: |run| Some(approximate(run.storage_bytes)),
    },
];

/// The tiles of Poolferry, where it ran, beside stock QEMU; otherwise of the last way.
pub(super) fn draw(cell: &Comparison<'_>) -> Markup {
    let Some(way) = cell.way(POOLFERRY).or(cell.ways.last()) else { return Markup::default() };
    let stock = cell.way(STOCK).filter(|stock| stock.mode != way.mode);
    html! {
        div.tiles {
            @for tile in &TILES { (tile.draw(way, stock)) }
            div.tile {
                span.name { "RAM of both sides" }
                @if way.runs.iter().any(|run| verdict::differs(run)) {
                    strong.bad { "differs" }
                } @else if way.runs.iter().any(|run| run.ram_identity.is_some()) {
                    strong { "identical" }
                } @else {
                    strong { "–" }
                }
                span.beside { (verdict::identity(way)) }
            }
        }
    }
}

impl Tile {
    fn draw(&self, way: &Way<'_>, stock: Option<&Way<'_>>) -> Markup {
        let text = |way: &Way<'_>| way.median_of(self.of).map(|value| self.quantity.text(value));
        html! {
            div.tile {
                span.name { (self.name) }
                strong { (text(way).unwrap_or_else(|| "–".to_owned())) }
                span.beside {
                    (way.name())
                    @if let Some(stock) = stock.and_then(text) { "; stock QEMU: " (stock) }
                }
            }
        }
    }
}
