//! Families of time series, as the metrics need them: info, counters, gauges and latencies.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::model::Latency;
use crate::viewer::units::to_f64;

/// Labels of one series.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes one family of series after another.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn infos<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = Labels<'l>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        for labels in series {
            family.encode_info(&labels)?;
        }
        Ok(())
    }

    pub(super) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: f64,
    ) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(family)
    }

    /// Histograms of latencies in seconds; without a server that has any, there is no such family. Bucket i of a
    /// snapshot counts [2^i, 2^(i+1)) ns; its bound is the largest whole ns inside, so that `le` is exact.
    pub(super) fn latencies<'l>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l>, &'l Latency)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let unit = Unit::Seconds;
        let mut family =
            self.0.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for (labels, latency) in series {
            let buckets = buckets(latency);
            // the kernel's counts are read one after another: `count` may run ahead of the buckets
            let count = buckets.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
            let sum = to_f64(latency.sum_ns) / 1e9;
            family
                .encode_family(&labels)?
                .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Upper bounds in seconds, and counts.
fn buckets(latency: &Latency) -> Vec<(f64, u64)> {
    // 1 us to 34 s; what lies outside counts in the first and in the last (+Inf)
    const SHOWN: std::ops::Range<u32> = 9..35;
    let bound = |bucket: u32| to_f64((2_u64 << bucket) - 1) / 1e9;
    let mut buckets: Vec<(f64, u64)> =
        SHOWN.map(|bucket| (bound(bucket), 0)).chain([(f64::INFINITY, 0)]).collect();
    let last = buckets.len() - 1;
    for (bucket, count) in (0_usize..).zip(&latency.buckets) {
        let at = bucket.saturating_sub(SHOWN.start as usize).min(last);
        buckets[at].1 = buckets[at].1.saturating_add(*count);
    }
    buckets
}

/// The unit of shares.
pub(super) fn ratio() -> Unit {
    // the specification's word; the encoder's own has a plural
    Unit::Other("ratio".to_owned())
}
