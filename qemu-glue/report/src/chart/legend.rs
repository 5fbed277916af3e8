//! Which colour is what.

use maud::{Markup, html};

use super::Colour;

/// The names with their colours; nothing where there is only one, since the chart's title names it.
pub(super) fn draw(entries: &[(&str, Colour)]) -> Markup {
    html! {
        @if entries.len() > 1 {
            ul.legend {
                @for (name, colour) in entries {
                    li { span class=(format!("key {}", colour.class())) {} (name) }
                }
            }
        }
    }
}
