//! From values to coordinates, with ticks at round numbers.

use crate::units::{Quantity, Unit, three_digits};

/// A linear scale whose ends and ticks are round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
    unit: Unit,
}

/// Parts of an axis that are aimed at.
const TICKS: f64 = 5.0;
/// Values beyond this are drawn at it: nothing that is measured comes near, and differences stay finite.
const HUGE: f64 = 1e18;

impl Scale {
    /// A scale for `values` that reaches from coordinate `from` to coordinate `to`; zero is always on
    /// it, and its ends are round in the unit that the quantity has for such values.
    pub(super) fn new(
        values: impl Iterator<Item = f64>,
        quantity: Quantity,
        ends: (f64, f64),
    ) -> Self {
        let exact = Self::exact(values, quantity, ends);
        let step = exact.step;
        let low = (exact.low / step).floor() * step;
        Self { low, high: (exact.high / step).ceil() * step, ..exact }
    }

    /// As [`Self::new`], but it ends where the values end: for time, where an empty margin would say
    /// that something was there to measure.
    pub(super) fn exact(
        values: impl Iterator<Item = f64>,
        quantity: Quantity,
        (from, to): (f64, f64),
    ) -> Self {
        let (low, high) = ends(values);
        let unit = quantity.unit(high.max(-low));
        Self { low, high, from, to, step: step(low, high, unit), unit }
    }

    /// The unit of the ticks' texts.
    pub(super) const fn unit(&self) -> Unit {
        self.unit
    }

    /// The coordinate of `value`.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(-HUGE, HUGE);
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Values of the ticks with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.step).ceil();
        // Rounding may have put the end a hair below its tick.
        let beyond = self.high + self.step / 1000.0;
        let values = (0..32_u8).map(|i| (first + f64::from(i)) * self.step);
        let inside = values.take_while(|value| *value <= beyond);
        inside.map(|value| (value, three_digits(value / self.unit.size))).collect()
    }
}

/// Lowest and highest of the finite values and zero; never the same.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let ends =
        finite.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = (ends.0.max(-HUGE), ends.1.min(HUGE));
    if high - low < 1e-9 { (low, low + 1.0) } else { (low, high) }
}

/// Distance of ticks: 1, 2 or 5 times a power of ten of the unit.
fn step(low: f64, high: f64, unit: Unit) -> f64 {
    let raw = (high - low) / unit.size / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|factor| raw <= factor * power * 1.0001);
    round.unwrap_or(10.0) * power * unit.size
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Quantity = Quantity::Seconds;

    fn texts(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let scale = Scale::new([3.0, 18.7].into_iter(), PLAIN, (0.0, 100.0));
        assert_eq!(texts(&scale), ["0", "5", "10", "15", "20"]);
        assert!((scale.at(0.0), scale.at(20.0), scale.at(5.0)) == (0.0, 100.0, 25.0));
        let negative = Scale::new([-30.0, 61.0].into_iter(), PLAIN, (0.0, 100.0));
        assert_eq!(texts(&negative), ["-40", "-20", "0", "20", "40", "60", "80"]);
    }

    #[test]
    fn ticks_are_round_in_the_unit_that_is_shown() {
        let gib = 1_073_741_824.0;
        let scale = Scale::new([2.1 * gib].into_iter(), Quantity::Bytes, (100.0, 0.0));
        assert_eq!(
            (texts(&scale), scale.unit().name),
            (["0", "0.5", "1", "1.5", "2", "2.5"].map(str::to_owned).to_vec(), "GiB",)
        );
        assert!(scale.at(2.1 * gib) < 20.0 && scale.at(0.0) == 100.0);
        // Rounded up, it has reached the next unit, but its ticks are round in this one.
        let scale = Scale::new([0.96 * gib].into_iter(), Quantity::Bytes, (100.0, 0.0));
        assert_eq!((texts(&scale)[1].as_str(), scale.unit().name), ("200", "MiB"));
    }

    #[test]
    fn an_exact_scale_ends_with_the_values() {
        let scale = Scale::exact([-4.0, 17.3].into_iter(), PLAIN, (0.0, 213.0));
        assert!((scale.at(17.3) - 213.0).abs() < 1e-9);
        assert_eq!(texts(&scale), ["0", "5", "10", "15"]);
    }

    #[test]
    fn odd_values_make_a_scale_all_the_same() {
        let odd = [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 0.0];
        for values in [&odd[..], &odd[2..3], &odd[4..], &[]] {
            for scale in [
                Scale::new(values.iter().copied(), PLAIN, (0.0, 100.0)),
                Scale::exact(values.iter().copied(), PLAIN, (0.0, 100.0)),
            ] {
                let ticks = scale.ticks();
                assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
                assert!(ticks.iter().all(|(value, _)| (-0.1..=100.1).contains(&scale.at(*value))));
            }
        }
    }
}
