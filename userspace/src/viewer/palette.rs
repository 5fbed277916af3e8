//! Colours and emphasis, in one place: how many colours the terminal has, and what each means.
//!
//! Only attributes (bold, dim, reverse) are used where colour is unwanted; each state then has a
//! character of its own in the map.

use std::env;

use foreign::Charset;
use ratatui::style::{Color, Modifier, Style};

use crate::model::Cell;

/// How many colours the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// None, or the user does not want any.
    None,
    /// The 256 of xterm.
    Indexed,
    /// 24 bits.
    True,
}

impl Colors {
    /// The environment's settings: `NO_COLOR` (set and not empty, see no-color.org) and
    /// `TERM=dumb` mean none; `COLORTERM` announces 24 bits.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let unwanted = var("NO_COLOR").is_some_and(|value| !value.is_empty());
        if unwanted || var("TERM").as_deref() == Some("dumb") {
            return Self::None;
        }
        match var("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Self::True,
            _ => Self::Indexed,
        }
    }
}

/// Number of states that a block can be in.
pub(super) const STATES: usize = 6;

/// All states in the order of the legend.
pub(super) const ALL: [Cell; STATES] =
    [Cell::Clean, Cell::Dirty, Cell::Io, Cell::Ineligible, Cell::Other, Cell::Free];

type Rgb = [u8; 3];

const ACCENT: Rgb = [126, 180, 202];
const WARNING: Rgb = [214, 170, 84];
const ALARM: Rgb = [229, 83, 75];

/// Styles for what the views draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    colors: Colors,
    charset: Charset,
}

impl Palette {
    pub(super) const fn new(colors: Colors, charset: Charset) -> Self {
        Self { colors, charset }
    }

    const fn colored(self) -> bool {
        !matches!(self.colors, Colors::None)
    }

    /// Whether only ASCII is shown.
    pub(super) const fn ascii(self) -> bool {
        matches!(self.charset, Charset::Ascii)
    }

    /// Whether a cell of the map can hold two colours.
    pub(super) const fn halves(self) -> bool {
        self.colored() && !self.ascii()
    }

    /// What stands back: units, rules, explanations.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Names and figures that stand out.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What the keys act on.
    pub(super) fn accent(self) -> Style {
        self.emphasis(ACCENT, Modifier::BOLD)
    }

    /// Curves and bars.
    pub(super) fn curve(self) -> Style {
        self.emphasis(ACCENT, Modifier::empty())
    }

    /// Something to know.
    pub(super) fn warning(self) -> Style {
        self.emphasis(WARNING, Modifier::BOLD)
    }

    /// Something is wrong: losses, drift.
    pub(super) fn alarm(self) -> Style {
        let plain = if self.colored() { Modifier::BOLD } else { Modifier::REVERSED };
        self.emphasis(ALARM, plain)
    }

    /// The state's own colour.
    pub(super) fn state(self, state: Cell) -> Style {
        self.emphasis(rgb(state), Modifier::empty())
    }

    /// Colour of a part of the map that stands for several blocks.
    ///
    /// The weight of a state is its count to the power of 3/4: a few dirty pages among a hundred
    /// clean ones must tint their cell, and the cell must still look like a clean one.
    pub(super) fn mix(self, counts: &[u32; STATES]) -> Color {
        let mut sum = [0.0; 3];
        let mut weights = 0.0;
        for (state, count) in ALL.into_iter().zip(counts) {
            let weight = f64::from(*count).powf(0.75);
            weights += weight;
            for (channel, value) in sum.iter_mut().zip(rgb(state)) {
                *channel += weight * f64::from(value);
            }
        }
        self.paint(sum.map(|channel| to_channel(channel / f64::max(weights, 1.0))))
    }

    fn emphasis(self, color: Rgb, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colored() { style.fg(self.paint(color)) } else { style }
    }

    fn paint(self, color: Rgb) -> Color {
        match self.colors {
            Colors::None => Color::Reset,
            Colors::Indexed => Color::Indexed(nearest_indexed(color)),
            Colors::True => Color::Rgb(color[0], color[1], color[2]),
        }
    }
}

/// The state's character where there is no colour.
pub(super) const fn letter(state: Cell) -> char {
    match state {
        Cell::Free => '.',
        Cell::Clean => 'o',
        Cell::Dirty => '#',
        Cell::Io => '*',
        Cell::Ineligible => 'x',
        Cell::Other => '+',
    }
}

/// The state's name in the legend.
pub(super) const fn name(state: Cell) -> &'static str {
    match state {
        Cell::Free => "free",
        Cell::Clean => "clean",
        Cell::Dirty => "dirty",
        Cell::Io => "I/O",
        Cell::Ineligible => "ineligible",
        Cell::Other => "other",
    }
}

/// Place of a state in [`ALL`] and in the counts of [`Palette::mix`].
pub(super) const fn index(state: Cell) -> usize {
    match state {
        Cell::Clean => 0,
        Cell::Dirty => 1,
        Cell::Io => 2,
        Cell::Ineligible => 3,
        Cell::Other => 4,
        Cell::Free => 5,
    }
}

/// Points of xterm's cube and greys, so that the pure states look the same on every terminal and
/// mixes have neighbours to fall on.
const fn rgb(state: Cell) -> Rgb {
    match state {
        Cell::Free => [48, 48, 48],
        Cell::Clean => [95, 175, 135],
        Cell::Dirty => [255, 175, 0],
        Cell::Io => [95, 135, 255],
        Cell::Ineligible => [175, 135, 215],
        Cell::Other => [138, 138, 138],
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of channels stays between 0 and 255"
)]
fn to_channel(value: f64) -> u8 {
    value.round() as u8
}

/// Nearest of xterm's 6x6x6 cube (16..232) and its greys (232..256).
///
/// Computed, not searched for: the map asks for it once a half cell and frame.
fn nearest_indexed(color: Rgb) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let distance = |other: Rgb| -> u32 {
        color.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    // the borders lie half-way between levels, which are 40 apart from the second on
    let [red, green, blue] = color.map(|channel| match channel {
        0..48 => 0,
        48..115 => 1,
        _ => (channel - 35) / 40,
    });
    let cube = [red, green, blue].map(|level| LEVELS[usize::from(level)]);
    // the nearest grey is that of the mean; greys are 8, 18, ... 238
    let mean = color.iter().map(|channel| u16::from(*channel)).sum::<u16>() / 3;
    let step = u8::try_from(mean.saturating_sub(3) / 10).unwrap_or(23).min(23);
    if distance([8 + 10 * step; 3]) < distance(cube) {
        232 + step
    } else {
        16 + 36 * red + 6 * green + blue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_decides_on_colour() {
        let colors = |vars: &[(&str, &str)]| {
            Colors::from_vars(|name| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(colors(&[]), Colors::Indexed);
        assert_eq!(colors(&[("COLORTERM", "truecolor")]), Colors::True);
        assert_eq!(colors(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Colors::None);
        assert_eq!(colors(&[("NO_COLOR", "")]), Colors::Indexed, "empty means not set");
        assert_eq!(colors(&[("TERM", "dumb")]), Colors::None);
    }

    #[test]
    fn one_dirty_page_tints_its_cell() {
        let palette = Palette::new(Colors::True, Charset::Utf8);
        let clean = palette.mix(&[100, 0, 0, 0, 0, 0]);
        let tinted = palette.mix(&[99, 1, 0, 0, 0, 0]);
        assert_eq!(clean, Color::Rgb(95, 175, 135));
        assert_ne!(clean, tinted);
    }

    #[test]
    fn every_state_keeps_a_colour_and_a_letter_of_its_own() {
        let colors: Vec<_> = ALL.map(|s| nearest_indexed(rgb(s))).to_vec();
        let letters: Vec<_> = ALL.map(letter).to_vec();
        for i in 0..STATES {
            assert_eq!(index(ALL[i]), i);
            assert!(!colors[..i].contains(&colors[i]), "{:?}", ALL[i]);
            assert!(!letters[..i].contains(&letters[i]), "{:?}", ALL[i]);
        }
        assert_eq!([[255, 0, 0], rgb(Cell::Free)].map(nearest_indexed), [196, 236]);
    }

    #[test]
    fn indexed_colours_are_the_nearest() {
        let level = |n: u8| [0_u8, 95, 135, 175, 215, 255][usize::from(n % 6)];
        let rgb_of = |index: u8| match index {
            232.. => [8 + 10 * (index - 232); 3],
            _ => [(index - 16) / 36, (index - 16) / 6, index - 16].map(level),
        };
        let distance = |a: Rgb, b: Rgb| -> u32 {
            a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
        };
        let channel = || (0..=255_u8).step_by(17);
        for color in
            channel().flat_map(|r| channel().flat_map(move |g| channel().map(move |b| [r, g, b])))
        {
            let best = (16..=255).map(|index| distance(color, rgb_of(index))).min();
            let found = distance(color, rgb_of(nearest_indexed(color)));
            assert_eq!(Some(found), best, "{color:?}");
        }
    }
}
