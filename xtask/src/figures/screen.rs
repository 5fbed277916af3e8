//! A terminal's screen as an SVG.

use std::collections::BTreeMap;

use vt100::{Cell, Color, Screen};

/// Width and height of a cell in pixels.
const CELL: (u16, u16) = (8, 17);
/// Free space around the screen.
const MARGIN: u16 = 12;
/// Where letters stand in a cell.
const BASELINE: u16 = 13;
/// Colours of a cell that has none of its own.
const PAPER: Rgb = (20, 23, 27);
const INK: Rgb = (214, 218, 224);

type Rgb = (u8, u8, u8);

/// Draws it; `title` says what it shows. The folder `home` of this machine's user is `~`.
pub(super) fn svg(screen: &Screen, title: &str, home: &str) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, rows * CELL.1 + 2 * MARGIN);
    let (mut areas, mut words) = (BTreeMap::new(), String::new());
    for row in 0..rows {
        let cells: Vec<_> = (0..columns)
            .map(|column| screen.cell(row, column).map(Look::of).unwrap_or_default())
            .collect();
        let mut column = 0;
        for run in cells.chunk_by(Look::goes_on) {
            let length = u16::try_from(run.len()).unwrap_or(0);
            run[0].fill(row, column, length, &mut areas);
            words += &word(run, row, column, home);
            column += length;
        }
    }
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{}\"/>\n",
        escaped(title),
        hex(PAPER)
    );
    for (colour, path) in areas {
        text += &format!(
            "<path fill=\"{}\" shape-rendering=\"crispEdges\" d=\"{path}\"/>\n",
            hex(colour)
        );
    }
    text + &words + "</svg>\n"
}

/// How a cell looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    text: String,
    ink: Option<Rgb>,
    paper: Option<Rgb>,
    bold: bool,
    dim: bool,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        let (mut ink, mut paper) = (rgb(cell.fgcolor()), rgb(cell.bgcolor()));
        if cell.inverse() {
            (ink, paper) = (paper.or(Some(PAPER)), ink.or(Some(INK)));
        }
        let text = cell.contents();
        let text = if text.is_empty() { " ".to_owned() } else { text.to_owned() };
        Self { text, ink, paper, bold: cell.bold(), dim: cell.dim() }
    }

    /// Whether the next cell is drawn together with this one.
    fn goes_on(&self, next: &Self) -> bool {
        let style = |look: &Self| (look.ink, look.paper, look.bold, look.dim);
        style(self) == style(next)
            && (self.text == next.text || !(self.is_block() || next.is_block()))
    }

    /// Drawn as an area: fonts leave gaps between these.
    fn is_block(&self) -> bool {
        ["▀", "▄", "█"].contains(&self.text.as_str())
    }

    fn fill(&self, row: u16, column: u16, length: u16, areas: &mut BTreeMap<Rgb, String>) {
        let (x, y) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
        let (width, half) = (length * CELL.0, CELL.1 / 2);
        let mut area = |colour: Rgb, y: u16, height: u16| {
            let path = areas.entry(colour).or_default();
            path.push_str(&format!("M{x} {y}h{width}v{height}h-{width}z"));
        };
        if let Some(paper) = self.paper {
            area(paper, y, CELL.1);
        }
        let ink = self.ink.unwrap_or(INK);
        match self.text.as_str() {
            "▀" => area(ink, y, half),
            "▄" => area(ink, y + half, CELL.1 - half),
            "█" => area(ink, y, CELL.1),
            _ => {}
        }
    }
}

/// Cells of one look as text; empty where there is nothing to read.
fn word(run: &[Look], row: u16, column: u16, home: &str) -> String {
    let text: String = run.iter().map(|look| look.text.as_str()).collect();
    let blank = text.len() - text.trim_start().len();
    let shown = text.trim();
    let shown = if home.is_empty() { shown.to_owned() } else { shown.replace(home, "~") };
    if shown.is_empty() || run[0].is_block() {
        return String::new();
    }
    let letters = u16::try_from(shown.chars().count()).unwrap_or(0);
    let x = MARGIN + (column + u16::try_from(blank).unwrap_or(0)) * CELL.0;
    let y = MARGIN + row * CELL.1 + BASELINE;
    let weight = if run[0].bold { " font-weight=\"bold\"" } else { "" };
    let dim = if run[0].dim { " opacity=\".65\"" } else { "" };
    format!(
        "<text x=\"{x}\" y=\"{y}\" textLength=\"{}\" fill=\"{}\" xml:space=\"preserve\"{weight}{dim}>{}</text>\n",
        letters * CELL.0,
        hex(run[0].ink.unwrap_or(INK)),
        escaped(&shown)
    )
}

/// The colour that xterm has for it.
fn rgb(color: Color) -> Option<Rgb> {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    const FIRST: [Rgb; 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    match color {
        Color::Default => None,
        Color::Rgb(red, green, blue) => Some((red, green, blue)),
        Color::Idx(index @ 0..16) => Some(FIRST[usize::from(index)]),
        Color::Idx(index @ 16..232) => {
            let step = |place: u8| STEPS[usize::from((index - 16) / place % 6)];
            Some((step(36), step(6), step(1)))
        }
        Color::Idx(index) => {
            let grey = 8 + (index - 232) * 10;
            Some((grey, grey, grey))
        }
    }
}

fn hex((red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text_and_blocks_are_areas() {
        let mut parser = vt100::Parser::new(2, 12, 0);
        parser.process(b"a <b>  \x1b[1;38;2;1;2;3mbold\x1b[0m\r\n\x1b[38;5;196;48;5;232m\xe2\x96\x80\xe2\x96\x80");
        let text = svg(parser.screen(), "one & two", "<b");
        assert!(text.contains("<title>one &amp; two</title>"), "{text}");
        assert!(text.contains(">a ~&gt;</text>"), "{text}");
        assert!(text.contains("fill=\"#010203\"") && text.contains("bold\">bold<"), "{text}");
        // Two cells of one look are one area: the ink's upper half upon the paper.
        assert!(
            text.contains(
                "<path fill=\"#ff0000\" shape-rendering=\"crispEdges\" d=\"M12 29h16v8h-16z\"/>"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "<path fill=\"#080808\" shape-rendering=\"crispEdges\" d=\"M12 29h16v17h-16z\"/>"
            ),
            "{text}"
        );
        assert!(!text.contains('▀'), "{text}");
    }
}
