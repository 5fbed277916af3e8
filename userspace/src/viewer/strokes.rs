//! Curves and bars made of block characters.

use super::units;

/// A curve of the newest `width` values in eighths of a line, scaled to its own maximum.
pub(super) fn curve(values: impl DoubleEndedIterator<Item = f64>, width: usize) -> String {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut newest: Vec<f64> = values.rev().take(width).collect();
    newest.reverse();
    let top = newest.iter().copied().fold(0.0, f64::max);
    let step = |value: f64| {
        let level = (1..8).filter(|level| value * 8.0 > top * f64::from(*level)).count();
        EIGHTHS[level]
    };
    let drawn = newest.iter().map(|v| if *v > 0.0 { step(*v) } else { ' ' }).collect::<String>();
    format!("{drawn:>width$}")
}

/// A bar of `width` cells, filled to `share` (0 to 1) in eighths of a cell.
pub(super) fn bar(share: f64, width: usize) -> (String, String) {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let cells = units::to_f64(width as u64);
    let eighths =
        (1..=width * 8).take_while(|i| units::to_f64(*i as u64) <= share * cells * 8.0).count();
    let part = PARTS[eighths % 8];
    let rest = width - eighths / 8 - usize::from(!part.is_empty());
    ("█".repeat(eighths / 8) + part, "░".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_and_bars_fit_their_width() {
        assert_eq!(curve([0.0, 1.0, 4.0, 8.0].into_iter(), 6), "   ▁▄█");
        assert_eq!(curve([9.0, 8.0, 8.0].into_iter(), 2), "██");
        assert_eq!(curve([].into_iter(), 2), "  ");
        assert_eq!(bar(0.5, 4), ("██".into(), "░░".into()));
        assert_eq!(bar(0.54, 4), ("██▏".into(), "░".into()));
        assert_eq!(bar(7.0, 4), ("████".into(), String::new()));
        assert_eq!(bar(f64::NAN, 1), (String::new(), "░".into()));
    }
}
