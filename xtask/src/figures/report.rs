//! Figures of the stored evaluation, taken out of its page: what the README shows is what the page shows.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace;

const PAGE: &str = "docs/results/report.html";
/// Heading of the cell that is shown.
const CELL: &str =
    "Read and write: 4 GiB VM, buffer pool 3.2 GiB; migration link 1 Gbit/s, storage link 4 Gbit/s";
/// Figures of it, from top to bottom.
const FIGURES: [&str; 2] = ["Total migration time", "Memory still to be sent"];

/// Width of a figure of the page.
const WIDTH: u32 = 640;
/// Free space around all of it.
const MARGIN: u32 = 20;
/// Height of a heading, and of a legend.
const HEADING: u32 = 30;
const LEGEND: u32 = 28;
/// Width of a letter, and of the square before a name.
const LETTER: u32 = 7;
const KEY: u32 = 12;

/// Draws them below one another.
pub(super) fn draw() -> Result<String> {
    let path = workspace::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("no page at `{PAGE}`"))?;
    compose(&page)
}

fn compose(page: &str) -> Result<String> {
    let style = between(page, "<style>", "</style>").context("the page has no style")?;
    let cell = after(page, &format!("<h2>{CELL}")).context("the page has no such cell")?;
    let (mut body, mut y) = (String::new(), MARGIN);
    for name in FIGURES {
        let figure = after(cell, &format!("<h3>{name}</h3>"))
            .and_then(|rest| rest.split_once("</figure>"))
            .with_context(|| format!("the cell has no figure `{name}`"))?
            .0;
        let (opening, drawing) = svg(figure).with_context(|| format!("`{name}` is not drawn"))?;
        let height = height(opening).with_context(|| format!("`{name}` has no height"))?;
        body += &format!("<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{name}</text>\n", y + 14);
        y += HEADING;
        body += &format!("<g transform=\"translate({MARGIN} {y})\">{drawing}</g>\n");
        y += height;
        let legend = legend(figure, y + KEY);
        if !legend.is_empty() {
            y += LEGEND;
            body += &legend;
        }
        y += MARGIN;
    }
    let width = WIDTH + 2 * MARGIN;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\" \
         font-family=\"system-ui, sans-serif\">\n<title>{CELL}</title>\n<style>{style}\n\
         svg .title {{ fill: var(--ink); font-size: 15px; font-weight: 600; }} .mark {{ fill: var(--it); }}\n</style>\n\
         <rect width=\"{width}\" height=\"{y}\" rx=\"8\" fill=\"var(--paper)\"/>\n{body}</svg>\n"
    ))
}

/// The legend of a figure as text beside squares; empty where it has none.
fn legend(figure: &str, y: u32) -> String {
    let (mut text, mut x) = (String::new(), MARGIN + 52);
    for entry in figure.split("<span class=\"key ").skip(1) {
        let Some((class, rest)) = entry.split_once("\"></span>") else { continue };
        let Some((name, _)) = rest.split_once('<') else { continue };
        let (top, beside) = (y - KEY + 2, x + KEY + 6);
        text += &format!(
            "<rect class=\"mark {class}\" x=\"{x}\" y=\"{top}\" width=\"{KEY}\" height=\"{KEY}\"/>"
        );
        text += &format!("<text x=\"{beside}\" y=\"{y}\">{name}</text>\n");
        x = beside + LETTER * u32::try_from(name.len()).unwrap_or(0) + 2 * KEY;
    }
    text
}

/// The opening of the first drawing, and what stands in it.
fn svg(figure: &str) -> Option<(&str, &str)> {
    let rest = after(figure, "<svg")?;
    let (opening, rest) = rest.split_once('>')?;
    Some((opening, rest.split_once("</svg>")?.0))
}

/// `viewBox="0 0 WIDTH HEIGHT"`
fn height(opening: &str) -> Option<u32> {
    between(opening, "viewBox=\"", "\"")?.split(' ').nth(3)?.parse().ok()
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    Some(text.split_once(mark)?.1)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(after(text, start)?.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's drawing is that of the stored evaluation, also after a new one.
    #[test]
    fn the_drawing_is_of_the_stored_page() {
        let stored = fs::read_to_string(workspace::root().join(super::super::REPORT)).unwrap();
        let drawn = draw().unwrap();
        assert!(stored == drawn, "`cargo xtask figures --report` draws it anew");
        for name in ["Stock QEMU", "multifd-zstd", "Poolferry", "Total migration time"] {
            assert!(drawn.contains(name), "no {name}");
        }
        assert_eq!(drawn.matches("<svg").count(), 1);
    }

    #[test]
    fn a_page_of_another_form_is_an_error() {
        for page in ["", "<style></style>", &format!("<style></style><h2>{CELL}</h2>")] {
            compose(page).unwrap_err();
        }
    }
}
