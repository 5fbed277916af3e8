//! Links and storage that are not what they were when the migration began: the work goes to where it is done.
//!
//! Pages that are outstanding are shared out in the ratio of both rates (`source/controller/load_split.rs`). So the part that the network gets
//! of those that were outstanding at a change tells whether the change was noticed. On a busy machine storage is slower than its link:
//! the network's fair part is reckoned with the rate that storage showed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::laboratory::Laboratory;
use lab::migration::{Migration, Ongoing};
use lab::network::Link;
use lab::rate::Rate;
use lab::workload::Workload;
use migration_record::{Report, Sample};
use page_number::PAGE_BYTES;
use rustix::process::Signal;

use crate::shared::{Needs, arrives, migrated, record, run};
use crate::storage::{elsewhere, raw_shared, serve};

/// Notified when QEMU's first pass is over.
const THROTTLED: &str = r#""name":"throttle""#;

/// Part of what is said of a guest that writes more than the link carries.
const OUTRUN: &str = "does not catch up";

/// How long storage stands still at least, and at most: until the network has gone on with some of it. How long QEMU's
/// first pass takes depends on what the guest has been through.
const STALL: Duration = Duration::from_secs(20);
const LONG_STALL: Duration = Duration::from_secs(28);

/// What had become of the skipped pages at a moment of the migration.
#[derive(Debug, Clone, Copy)]
struct Then {
    installed: u64,
    redirtied: u64,
    outstanding: u64,
}

impl Then {
    fn of(ongoing: &Ongoing<'_>) -> Self {
        let [skipped, installed, zero, redirtied] =
            ["skipped_pages", "installed_pages", "zero_pages", "redirtied_pages"]
                .map(|key| ongoing.highest(key));
        Self {
            installed,
            redirtied,
            outstanding: skipped.saturating_sub(installed + zero + redirtied),
        }
    }
}

/// Shapes migration link and storage link; the tests that follow want them as they were, see [`Rate::UNLIMITED`].
fn shape(lab: &Laboratory, migration: Rate, storage: Rate) -> Result<()> {
    lab.network().reshape(Link::Migration, migration)?;
    lab.network().reshape(Link::Storage, storage)
}

/// A migration over links of two rates, one of which changes once.
struct Change {
    migration: &'static str,
    storage: &'static str,
    link: Link,
    to: &'static str,
    /// When it is time.
    when: fn(&Ongoing<'_>) -> bool,
}

impl Change {
    /// Migrates; gives what became of the pages that were outstanding at the change.
    fn make(&self, lab: &mut Laboratory) -> Result<Outcome> {
        lab.load(Workload::Idle)?;
        shape(lab, self.migration.parse()?, self.storage.parse()?)?;
        let mut then = None;
        let migration = Migration::with_fault(|ongoing| {
            if then.is_none() && (self.when)(ongoing) {
                then = Some(Then::of(ongoing));
                ongoing.lab.network().reshape(self.link, self.to.parse()?)?;
            }
            Ok(())
        });
        let hop = arrives(lab, migration)?;
        shape(lab, Rate::UNLIMITED, Rate::UNLIMITED)?;
        assert!(hop.ended.driver.is_some_and(|status| status.success()), "{:?}", hop.ended);
        let then = then.context("the migration was over before the link changed")?;
        let report = record(lab)?;
        let Report { pages, total_time_s, .. } = &report;
        let network = if self.link == Link::Migration { self.to } else { self.migration };
        let outcome = Outcome {
            part: ratio(pages.redirtied - then.redirtied, then.outstanding),
            fair: fair_part(&report, then, network.parse()?),
        };
        println!("{total_time_s:.1} s; at the change {then:?}, then {outcome:?}; {pages:?}");
        assert!(then.outstanding > pages.skipped / 8, "too late to tell");
        Ok(outcome)
    }
}

/// What became of the pages that were outstanding at the change.
#[derive(Debug)]
struct Outcome {
    /// The part that the network got.
    part: f64,
    /// The part that it gets where both paths work until the end: the network at the rate of its link, storage at the rate that it showed.
    fair: f64,
}

impl Outcome {
    /// The network got less than `limit`; where storage was slower than its link, no more than a tenth above what is fair.
    fn assert_less(&self, limit: f64) {
        let Self { part, fair } = self;
        assert!(*part < limit.max(fair + 0.1), "the network got {part:.2}, fair is {fair:.2}");
    }
}

/// What the network gets of the rest where both paths work until the end, see [`Outcome::fair`].
#[expect(clippy::cast_precision_loss, reason = "pages of a small VM")]
fn fair_part(report: &Report, then: Then, network: Rate) -> f64 {
    let installed_at = |pages: u64| {
        let reached = |sample: &&Sample| sample.installed_pages >= Some(pages);
        report.samples.iter().find(reached).map_or(report.total_time_s, |sample| sample.at_s)
    };
    // The last pages may be late answers.
    let pages = report.pages.installed.saturating_sub(then.installed) * 19 / 20;
    let time_s = installed_at(then.installed + pages) - installed_at(then.installed);
    let storage = pages as f64 / time_s.max(0.1);
    let network = network.bits_per_second().unwrap_or(u64::MAX) as f64 / 8.0 / PAGE_BYTES as f64;
    network / (network + storage)
}

#[expect(clippy::cast_precision_loss, reason = "pages of a small VM")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// The network works at what storage would have come to. Pages that the guest has written are re-dirtied
/// too, but they are fewer.
fn is_shared(ongoing: &Ongoing<'_>) -> bool {
    ongoing.highest("redirtied_pages") > ongoing.highest("skipped_pages").max(16) / 16
}

/// Storage has brought an eighth.
fn is_under_way(ongoing: &Ongoing<'_>) -> bool {
    ongoing.highest("installed_pages") > ongoing.highest("skipped_pages").max(8) / 8
}

/// At 4 : 1 the network would get 0.8 of the rest; at 8 : 10 it gets 0.45.
fn network_slows_down(lab: &mut Laboratory) -> Result<()> {
    let change = Change {
        migration: "400mbit",
        storage: "100mbit",
        link: Link::Migration,
        to: "80mbit",
        when: is_shared,
    };
    change.make(lab)?.assert_less(0.55);
    Ok(())
}

/// QEMU's first pass would take longer than storage does for all: the network would get nothing.
fn network_speeds_up(lab: &mut Laboratory) -> Result<()> {
    let change = Change {
        migration: "40mbit",
        storage: "100mbit",
        link: Link::Migration,
        to: "400mbit",
        when: is_under_way,
    };
    let Outcome { part, .. } = change.make(lab)?;
    assert!(part > 0.25, "the network got {part:.2}");
    Ok(())
}

/// Storage would be done before QEMU's first pass is: the network would get nothing.
fn storage_slows_down(lab: &mut Laboratory) -> Result<()> {
    let change = Change {
        migration: "200mbit",
        storage: "400mbit",
        link: Link::Storage,
        to: "40mbit",
        when: is_under_way,
    };
    let Outcome { part, .. } = change.make(lab)?;
    assert!(part > 0.35, "the network got {part:.2}");
    assert!(record(lab)?.redirtied_by_reason.contains_key("sooner-by-network"));
    Ok(())
}

/// At 5 : 1 the network would get 0.8 of the rest; at 5 : 10 it gets 0.3.
fn storage_speeds_up(lab: &mut Laboratory) -> Result<()> {
    let change = Change {
        migration: "200mbit",
        storage: "40mbit",
        link: Link::Storage,
        to: "400mbit",
        when: is_shared,
    };
    change.make(lab)?.assert_less(0.55);
    Ok(())
}

/// The network goes on with what storage leaves lying, and storage goes on when it can. QEMU's first pass ends
/// while storage stands still, and the network does not bring all of it meanwhile.
fn storage_stops_and_comes_back(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let shared = raw_shared(lab);
    let server = serve(lab, &shared)?;
    let receive = elsewhere(lab);
    let network: Rate = "110mbit".parse()?;
    shape(lab, network, "200mbit".parse()?)?;
    let mut stopped: Option<(Instant, Then)> = None;
    let mut back = None;
    let fault = |ongoing: &mut Ongoing<'_>| {
        match stopped {
            None if is_under_way(ongoing) => {
                server.signal(Signal::STOP);
                stopped = Some((Instant::now(), Then::of(ongoing)));
            }
            Some((at, then)) if back.is_none() && at.elapsed() >= STALL => {
                let now = Then::of(ongoing);
                let gone_on = now.redirtied > then.redirtied + then.outstanding / 4;
                if gone_on || at.elapsed() >= LONG_STALL {
                    server.signal(Signal::CONT);
                    back = Some(now);
                }
            }
            _ => {}
        }
        Ok(())
    };
    let hop = arrives(lab, Migration { receive, ..Migration::with_fault(fault) })?;
    shape(lab, Rate::UNLIMITED, Rate::UNLIMITED)?;
    drop(server);
    assert!(hop.ended.driver.is_some_and(|status| status.success()), "{:?}", hop.ended);
    let (_, then) = stopped.context("the migration was over before storage stopped")?;
    let back = back.context("the migration was over before storage came back")?;
    let report = record(lab)?;
    let stock_s = stock_s(&report, network);
    let Report { pages, total_time_s, redirtied_by_reason, .. } = &report;
    println!(
        "{total_time_s:.1} s, stock {stock_s:.1} s; {then:?}, {back:?}, {pages:?}, {redirtied_by_reason:?}"
    );
    let sooner = redirtied_by_reason.get("sooner-by-network").copied().unwrap_or(0);
    assert!(
        back.redirtied > then.redirtied + then.outstanding / 8 && sooner > then.outstanding / 8,
        "the network did not go on: {then:?}, {back:?}, {sooner} sooner by network"
    );
    assert!(
        pages.installed > back.installed + pages.skipped / 16,
        "storage has not come back: {back:?}, {pages:?}"
    );
    assert!(*total_time_s < stock_s * 1.1, "{total_time_s:.1} s, stock QEMU {stock_s:.1} s");
    assert!(migrated(lab)?.pages.installed > 0);
    Ok(())
}

/// The guest writes more than the link carries: it is said while it goes on, with what can be done about it, and
/// what can be done helps.
fn a_guest_that_outruns_the_link_is_told_of(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Rw)?;
    shape(lab, Rate::UNLIMITED, "100mbit".parse()?)?;
    let begun = Instant::now();
    let (mut slow, mut output) = (false, None);
    let migration = Migration::with_fault(|ongoing| {
        // Once QEMU has sent all of it: over such a link that would take minutes.
        if !slow && ongoing.output().contains(THROTTLED) {
            slow = true;
            ongoing.lab.network().reshape(Link::Migration, "8mbit".parse()?)?;
        }
        if output.is_none() && ongoing.output().contains(OUTRUN) {
            output = Some(begun.elapsed());
            ongoing.lab.network().reshape(Link::Migration, Rate::UNLIMITED)?;
        }
        Ok(())
    });
    let hop = arrives(lab, migration)?;
    shape(lab, Rate::UNLIMITED, Rate::UNLIMITED)?;
    let report = record(lab)?;
    println!(
        "reported after {output:?}, over after {:.1} s: {:?}",
        report.total_time_s, report.warnings
    );
    assert!(hop.ended.driver.is_some_and(|status| status.success()), "{:?}", hop.ended);
    assert!(output.is_some(), "nothing was reported");
    let warning = report.warnings.iter().find(|warning| warning.contains(OUTRUN));
    assert!(warning.is_some_and(|warning| warning.contains("--downtime-limit")), "{warning:?}");
    // Over a fast link it is caught up with, and nothing is said.
    let report = migrated(lab)?;
    assert!(
        !report.warnings.iter().any(|warning| warning.contains(OUTRUN)),
        "{:?}",
        report.warnings
    );
    Ok(())
}

/// How long stock QEMU takes over a link for what this migration has sent and what it has skipped; at least.
#[expect(clippy::cast_precision_loss, reason = "bytes of a small VM")]
fn stock_s(report: &Report, network: Rate) -> f64 {
    let pages = report.pages;
    let spared = (pages.skipped - pages.zero - pages.redirtied) * PAGE_BYTES;
    let bytes = report.network_bytes - report.channel_bytes + spared;
    bytes as f64 * 8.0 / network.bits_per_second().unwrap_or(u64::MAX) as f64
}

macro_rules! dynamics {
    ($($name:ident),+ $(,)?) => {
        mod tests {$(
            #[test]
            fn $name() {
                let name = concat!("dynamics::", stringify!($name));
                super::run(name, super::Needs::Poolferry, super::$name);
            }
        )+}
    };
}
dynamics!(
    network_slows_down,
    network_speeds_up,
    storage_slows_down,
    storage_speeds_up,
    storage_stops_and_comes_back,
    a_guest_that_outruns_the_link_is_told_of,
);
