//! What is kept of a migration while it runs, for its report.

mod costs;
pub(super) mod progress;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use foreign::Text;

use crate::source::controller::{Controller, LastWord};
use crate::source::record::costs::CostMeter;

use crate::agent::{self, ListSteps};
use crate::channel::MAX_SECONDS;
use crate::shim;
use crate::source::monitor::migration_info::MigrationInfo;
use crate::source::record::progress::{Snapshot, Update, real};
use crate::timeline::now_ns;
use migration_record::{MigrationPhase, Report, Sample, Sync};

/// What a skip session shows at its end.
pub(super) struct SessionFigures {
    /// The state of the library's memory.
    pub(super) status: shim::LibraryStatus,
    /// What the guest's agent has reported.
    pub(super) readings: Vec<agent::Reading>,
    /// Bytes of the channel.
    pub(super) channel_bytes: u64,
}

/// The report in the making; it also informs the observer.
pub(in crate::source) struct ReportBuilder<'a> {
    pub(in crate::source) report: Report,
    observer: &'a mut (dyn FnMut(&Update) + Send),
    /// When it was requested.
    requested: Instant,
    /// The step of QEMU's migration.
    entered: &'static str,
    /// Steps with their begin and end.
    steps: Vec<(&'static str, Instant, Option<Instant>)>,
    /// When QEMU took the `migrate` command, and CLOCK_MONOTONIC then, in ns.
    begun: Option<(Instant, u64)>,
    last: Snapshot,
    meter: CostMeter,
}

impl<'a> ReportBuilder<'a> {
    pub(in crate::source) fn new(
        mode: &str,
        observer: &'a mut (dyn FnMut(&Update) + Send),
    ) -> Self {
        let report = Report { mode: mode.into(), ..Report::default() };
        let (steps, last, meter) = (Vec::new(), Snapshot::default(), CostMeter::new());
        Self {
            report,
            observer,
            requested: Instant::now(),
            entered: "",
            steps,
            begun: None,
            last,
            meter,
        }
    }

    pub(in crate::source) fn warn(&mut self, text: impl Into<Text>) {
        let text = text.into();
        log::info!("{text}");
        (self.observer)(&Update::Warning { text: text.clone() });
        self.report.warnings.push(text);
    }

    /// QEMU's limits are this migration's `ours`, or the user's again.
    pub(in crate::source) fn limits(&mut self, ours: bool) {
        (self.observer)(&Update::Limits { ours });
    }

    pub(in crate::source) fn begin(&mut self, name: &'static str) {
        (self.observer)(&Update::Step { name });
        self.steps.push((name, Instant::now(), None));
    }

    /// Ends the last step of the migration, and begins this one.
    pub(in crate::source) fn enter(&mut self, name: &'static str) {
        self.end(self.entered);
        self.begin(name);
        self.entered = name;
    }

    /// Ends the step, if it goes on.
    pub(in crate::source) fn end(&mut self, name: &'static str) {
        let going_on =
            |step: &&mut (&str, Instant, Option<Instant>)| step.0 == name && step.2.is_none();
        if let Some(step) = self.steps.iter_mut().rev().find(going_on) {
            step.2 = Some(Instant::now());
        }
    }

    pub(in crate::source) fn list(&mut self, steps: &ListSteps, in_place: bool) {
        self.report.list_s = seconds_by_step(steps);
        if !in_place {
            log::warn!("the page list was copied");
        }
    }

    /// QEMU gets `migrate` now: times count from here.
    pub(in crate::source) fn migrate(&mut self) {
        self.begun = Some((Instant::now(), now_ns()));
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        self.report.begun_unix_s = unix.map_or(0.0, |unix| unix.as_secs_f64());
    }

    /// CLOCK_MONOTONIC at the `migrate` command, in ns.
    pub(in crate::source) fn zero_ns(&self) -> u64 {
        self.begun.map_or(0, |(_, zero_ns)| zero_ns)
    }

    /// Seconds since the `migrate` command.
    pub(in crate::source) fn at_s(&self) -> f64 {
        self.since(Instant::now())
    }

    fn since(&self, at: Instant) -> f64 {
        let Some((begun, _)) = self.begun else { return 0.0 };
        let before = begun.saturating_duration_since(at).as_secs_f64();
        at.saturating_duration_since(begun).as_secs_f64() - before
    }

    /// A moment of the migration.
    pub(in crate::source) fn snapshot(&mut self, mut snapshot: Snapshot) {
        self.meter.look();
        snapshot.at_s = self.at_s();
        snapshot.reckon(&self.last);
        let skipped = snapshot.skipped_pages > 0;
        self.report.sampled(Sample {
            at_s: snapshot.at_s,
            remaining_bytes: snapshot.remaining_bytes,
            network_bytes: snapshot.network_bytes,
            storage_bytes: snapshot.storage_bytes,
            network_bytes_per_s: Some(snapshot.network_bytes_per_s),
            storage_bytes_per_s: Some(snapshot.storage_bytes_per_s),
            dirty_pages_per_s: Some(real(snapshot.dirty_pages_per_s)),
            outstanding_pages: skipped.then_some(snapshot.outstanding_pages),
            installed_pages: skipped.then_some(snapshot.installed_pages),
        });
        (self.observer)(&Update::Snapshot(snapshot.clone()));
        self.last = snapshot;
    }

    /// What the library in QEMU saw at the end.
    fn library(&mut self, status: &shim::LibraryStatus) {
        let Some((_, base)) = self.begun else { return };
        let seconds = |ns: u64| {
            let (after, before) = (ns.saturating_sub(base), base.saturating_sub(ns));
            (real(after) - real(before)) / 1e9
        };
        self.report.syncs = status
            .sync_times
            .iter()
            .map(|sync| Sync {
                begin_s: seconds(sync.begun_ns),
                duration_ms: sync
                    .ended_ns
                    .map_or(0.0, |end| real(end.saturating_sub(sync.begun_ns)) / 1e6),
            })
            .collect();
        if let (Some(begun), Some(returned)) = (status.hint_begun_ns, status.hint_returned_ns) {
            let (begin_s, end_s) = (seconds(begun), Some(seconds(returned)));
            self.report.phases.push(MigrationPhase { name: "hint".into(), begin_s, end_s });
        }
        if let Some(stopped) = status.final_sync_ns {
            let (begin_s, end_s) = (seconds(stopped), status.cleanup_ns.map(seconds));
            self.report.phases.push(MigrationPhase { name: "switchover".into(), begin_s, end_s });
        }
    }

    /// What became of the skipped pages, by the controller, the library and the destination's last
    /// word.
    pub(in crate::source) fn skipped(
        &mut self,
        session: &SessionFigures,
        controller: &Controller,
        last_word: Option<LastWord>,
    ) {
        let status = &session.status;
        self.library(status);
        if let Some((zero, _)) = self.begun {
            self.report.guest = agent::seconds(&session.readings, zero);
        }
        let report = &mut self.report;
        report.redirtied_by_reason = controller.redirtied(status);
        report.pages.skipped = status.hinted;
        report.pages.redirtied = report.redirtied_by_reason.values().sum();
        let last_word = last_word.map(LastWord::into_inner);
        let progress =
            last_word.as_ref().map_or_else(|| controller.progress(), |word| word.progress);
        // Whatever was installed after the library had re-dirtied it, QEMU has sent over it.
        let installed = report.pages.skipped.saturating_sub(report.pages.redirtied);
        report.pages.zero = controller.zero_pages().min(installed);
        let installed = installed - report.pages.zero;
        report.pages.already_present = progress.already_present.min(installed);
        report.pages.installed = installed - report.pages.already_present;
        report.storage_bytes = progress.storage_bytes;
        report.channel_bytes = session.channel_bytes;
        if let Some(word) = last_word {
            report.costs.destination_cpu_s = Some(word.cpu_s);
            report.costs.destination_peak_bytes = Some(word.peak_memory_bytes);
            report.probes.destination = word.probes.map(|side| *side);
            report.warnings.extend(word.warnings);
        } else {
            self.warn("the destination's last word is missing".to_owned());
        }
    }

    /// QEMU's figures at the end.
    pub(in crate::source) fn ended(&mut self, migration: &MigrationInfo) {
        let report = &mut self.report;
        report.total_time_s = real(migration.total_time) / 1e3;
        let before = self.begun.map(|(begun, _)| begun.saturating_duration_since(self.requested));
        report.command_s = before.map(|before| before.as_secs_f64() + report.total_time_s);
        report.downtime_ms = real(migration.downtime);
        report.network_bytes = migration.ram.transferred + report.channel_bytes;
        report.dirty_syncs = migration.ram.dirty_sync_count;
        report.memory_bytes = migration.ram.total;
    }

    /// The report.
    pub(in crate::source) fn finish(mut self) -> Report {
        self.meter.fill(&mut self.report.costs);
        let steps = std::mem::take(&mut self.steps);
        for (name, begin, end) in steps {
            self.report.phases.push(MigrationPhase {
                name: name.into(),
                begin_s: self.since(begin),
                end_s: end.map(|end| self.since(end)),
            });
        }
        self.report.phases.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        self.report
    }
}

/// Steps of the list as the report names them, in seconds.
fn seconds_by_step(steps: &ListSteps) -> BTreeMap<Text, f64> {
    let mut named = BTreeMap::from([
        ("transfer".into(), steps.transfer_s),
        ("verify".into(), steps.hash_s),
        ("total".into(), steps.total_s),
    ]);
    if let Ok(serde_json::Value::Object(steps)) = serde_json::to_value(steps.guest) {
        for (name, seconds) in steps {
            let name = name.trim_end_matches("_s");
            if let Some(seconds) = seconds.as_f64().filter(|_| name != "total") {
                named.insert(name.into(), seconds.clamp(0.0, MAX_SECONDS));
            }
        }
    }
    named
}
