//! QEMU's migration from the `migrate` command to its end, whichever that is.

use std::time::{Duration, Instant};

use page_wire::ask::Phase;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::MigrateError;
use super::cancel::{CANCELLING, Stop};
use super::chase::{self, Chase};
use super::ferry::{Ferry, News, Stage as Ferrying};
use super::hold::{Law, Share, View};
use super::limits::Limits;
use super::pace::{self, Pace};
use super::progress::Picture;
use super::query::{Migration, Stage, stage};
use super::record::Record;
use super::switchover::{self, Switchover};
use crate::qmp::{Event, Qmp, QmpError};
use crate::set::PAGE_BYTES;

/// How often the library's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often QEMU is asked.
const POLL: Duration = Duration::from_millis(100);
/// How often while it has not told its bandwidth, and is kept at a trickle for that.
const POLL_EARLY: Duration = Duration::from_millis(20);

const BYTES_PER_MEGABIT: f64 = 125_000.0;

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) stage: Stage,
    pub(super) migration: Migration,
    /// Why, when it did not complete.
    pub(super) reason: Option<String>,
}

pub(super) struct Drive<'a, 'o> {
    qmp: &'a Qmp,
    limits: Limits,
    pub(super) ferry: Option<Ferry>,
    record: &'a mut Record<'o>,
    law: Law,
    pace: Option<Pace>,
    share: Share,
    switchover: Switchover,
    chase: Chase,
    step: &'static str,
    last: Migration,
    syncs: u64,
    compressed: bool,
    cancelled: Option<String>,
}

impl<'a, 'o> Drive<'a, 'o> {
    pub(super) fn new(
        qmp: &'a Qmp,
        limits: Limits,
        ferry: Option<Ferry>,
        shares: bool,
        compressed: bool,
        record: &'a mut Record<'o>,
    ) -> Self {
        Self {
            qmp,
            limits,
            ferry,
            record,
            law: Law::new(),
            pace: shares.then(Pace::default),
            share: Share::Trickle,
            compressed,
            switchover: Switchover::default(),
            chase: Chase::default(),
            step: "",
            last: Migration::default(),
            syncs: 0,
            cancelled: None,
        }
    }

    /// Migrates to `uri`.
    ///
    /// # Errors
    /// [`MigrateError::Qmp`] when QEMU refuses to begin, [`MigrateError::Lost`] when its monitor breaks,
    /// [`MigrateError::NotEnded`] when it was told to end, and QEMU does not.
    pub(super) async fn run(&mut self, uri: &str, stop: &Stop) -> Result<Ended, MigrateError> {
        let (mut waits, mut tells) = (stop.clone(), stop.clone());
        if let Some(ended) = waits.within(CANCELLING, self.follow(uri, &mut tells)).await {
            return ended;
        }
        let (reason, _) = tells.asked().await;
        // Its figures were waited for.
        if self.last.stage() == Stage::Completed {
            return Ok(Ended {
                stage: Stage::Completed,
                migration: self.last.clone(),
                reason: None,
            });
        }
        Err(MigrateError::NotEnded { reason, limit: CANCELLING })
    }

    async fn follow(&mut self, uri: &str, stop: &mut Stop) -> Result<Ended, MigrateError> {
        let mut events = self.qmp.events();
        self.record.limits(true);
        // QEMU does not know of a migration yet: there is none to cancel, and what it tells is of an earlier one.
        stop.within(Duration::ZERO, self.limit()).await.ok_or(MigrateError::Cancelled)??;
        self.record.migrate();
        self.step("first pass");
        // A receiver that is gone by now is known before the library hints the set.
        if let Some(Err(trouble)) = self.ferry.as_mut().map(Ferry::catch_up) {
            self.trouble(&trouble);
        }
        self.qmp.execute("migrate", json!({ "uri": uri })).await?;
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polled = Instant::now();
        loop {
            let mut poll = false;
            tokio::select! {
                (reason, _) = stop.asked(), if self.cancelled.is_none() => self.cancel(reason).await?,
                news = news(&mut self.ferry) => self.news(news),
                event = events.recv() => poll = event.is_ok_and(|event| self.event(&event)),
                _ = tick.tick() => self.look().await?,
            }
            let early = self.ferry.is_some() && self.last.ram.mbps == 0.0;
            if poll || polled.elapsed() >= if early { POLL_EARLY } else { POLL } {
                polled = Instant::now();
                if let Some(ended) = self.poll().await? {
                    return Ok(ended);
                }
            }
        }
    }

    /// The limits to begin with.
    async fn limit(&mut self) -> Result<(), QmpError> {
        if self.ferry.is_none() {
            return self.limits.set(self.qmp).await;
        }
        self.share = self.law.share(self.view());
        self.limits.hold(self.qmp, self.share).await
    }

    fn step(&mut self, name: &'static str) {
        if self.step != name {
            self.record.end(self.step);
            self.record.begin(name);
            self.step = name;
        }
    }

    /// Whether QEMU is to be asked at once.
    fn event(&mut self, event: &Event) -> bool {
        if let Some(pass) = event.migration_pass() {
            self.syncs = self.syncs.max(pass);
            // The pass that had the link is over: each moment more of it is wasted on resends. And what
            // QEMU has found tells whether it catches up.
            return self.share == Share::Full || self.switchover.is_gentle();
        }
        event.migration_status().is_some_and(|status| stage(status) != Stage::Running)
    }

    fn news(&mut self, news: News) {
        let Some(ferry) = &mut self.ferry else { return };
        if let Err(trouble) = ferry.take(news)
            && !ferry.has_ended()
        {
            self.trouble(&trouble);
        }
    }

    async fn look(&mut self) -> Result<(), MigrateError> {
        let Some(ferry) = &mut self.ferry else { return Ok(()) };
        match ferry.look(self.syncs) {
            Ok(false) => Ok(()),
            // The hold stays until QEMU has ended what was cancelled.
            Ok(true) if ferry.has_ended() && self.cancelled.is_some() => Ok(()),
            Ok(true) if ferry.has_ended() => self.release().await,
            Ok(true) => {
                ferry.end("");
                // QEMU that has measured its bandwidth syncs before it switches over.
                let syncs_again = self.last.ram.mbps > 0.0;
                if syncs_again || ferry.not_taken_up() == 0 {
                    return self.release().await;
                }
                Ok(())
            }
            Err(trouble) => {
                self.trouble(&trouble);
                Ok(())
            }
        }
    }

    /// Pages cannot be proven any more: the rest goes back, the migration goes on. It is let go once QEMU knows of
    /// what it has to send.
    fn trouble(&mut self, trouble: &str) {
        self.record.remark(format!("the rest of the memory goes by network: {trouble}"));
        if let Some(ferry) = &mut self.ferry {
            ferry.end("trouble");
        }
    }

    /// The user's limits again, and no hold: QEMU converges by itself.
    async fn release(&mut self) -> Result<(), MigrateError> {
        let restored = self.limits.gentle().set(self.qmp).await;
        self.switchover = Switchover::released(self.syncs);
        // Even when that failed: nothing may keep the migration from ending.
        if let Some(ferry) = &mut self.ferry {
            ferry.let_go();
        }
        self.step("convergence");
        self.survivable(restored)
    }

    /// An error of one command is noted; a monitor that is gone is the end.
    fn survivable<T: Default>(&mut self, result: Result<T, QmpError>) -> Result<T, MigrateError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) if error.is_fatal() => Err(MigrateError::Lost(error)),
            Err(error) => {
                self.record.remark(error.to_string());
                Ok(T::default())
            }
        }
    }

    async fn cancel(&mut self, reason: String) -> Result<(), MigrateError> {
        self.record.remark(format!("the migration is cancelled: {reason}"));
        self.cancelled = Some(reason);
        let cancelled = self.qmp.execute("migrate_cancel", json!({})).await;
        // The hold stays until QEMU has ended it. Should it be too late to cancel, all must be there.
        if let Some(ferry) = &mut self.ferry
            && !ferry.has_ended()
        {
            ferry.end("cancelled");
        }
        self.survivable(cancelled).map(drop)
    }

    /// Asks QEMU; tells how it ended once it has.
    async fn poll(&mut self) -> Result<Option<Ended>, MigrateError> {
        let answer = Migration::of(self.qmp).await;
        let Some(migration) = self.survivable(answer.map(Some))? else { return Ok(None) };
        self.syncs = self.syncs.max(migration.ram.dirty_sync_count);
        self.last = migration;
        if let Some(ferry) = self.ferry.as_mut().filter(|_| self.share == Share::Full) {
            ferry.network(self.last.ram.mbps * BYTES_PER_MEGABIT);
        }
        let picture = self.picture();
        self.record.picture(picture);
        self.tell();
        match self.last.stage() {
            Stage::PreSwitchover => {
                // Somebody has set `pause-before-switchover`. What is not settled by now is given back
                // by the library as this goes on: the VM has stopped.
                let state = json!({ "state": "pre-switchover" });
                let continued = self.qmp.execute("migrate-continue", state).await;
                self.survivable(continued)?;
            }
            Stage::Completed | Stage::Failed | Stage::Cancelled => {
                return self.ended().await.map(Some);
            }
            Stage::None | Stage::Running => {
                self.running().await?;
                self.chase();
            }
        }
        self.end_gently().await?;
        Ok(None)
    }

    /// For the people in the guest.
    fn tell(&self) {
        let Some(ferry) = &self.ferry else { return };
        let phase = match ferry.stage() {
            _ if self.cancelled.is_some() => Phase::GivenUp,
            Ferrying::Over => Phase::SwitchingOver,
            _ if self.syncs > 1 => Phase::Held,
            Ferrying::Waiting | Ferrying::Proving | Ferrying::Returning => Phase::Migrating,
        };
        ferry.tell(phase, self.last.ram.remaining);
    }

    /// After a moment in which QEMU could send what is left, it may stop the VM as long as the user allows.
    async fn end_gently(&mut self) -> Result<(), MigrateError> {
        let ram = self.last.ram;
        let view = switchover::View {
            at: Instant::now(),
            syncs: ram.dirty_sync_count,
            remaining: ram.remaining,
        };
        if self.switchover.look(view) {
            let set = self.limits.set(self.qmp).await;
            self.survivable(set)?;
        }
        Ok(())
    }

    async fn running(&mut self) -> Result<(), MigrateError> {
        let Some(ferry) = &self.ferry else {
            if self.syncs > 1 {
                self.step("convergence");
            }
            return Ok(());
        };
        let stage = ferry.stage();
        if stage == Ferrying::Over || self.cancelled.is_some() {
            return Ok(());
        }
        self.share_out();
        let view = self.view();
        let share = match self.law.share(view) {
            // The sooner it is through, the sooner it takes up what goes back.
            _ if stage == Ferrying::Returning && view.measured => Share::Full,
            share => share,
        };
        if self.syncs > 1 {
            self.step("hold");
        }
        if share != self.share {
            log::debug!("QEMU's share of the link is {share:?}");
            let set = self.limits.hold(self.qmp, share).await;
            self.survivable(set)?;
            self.share = share;
        }
        Ok(())
    }

    /// Says so when QEMU does not catch up with the guest.
    fn chase(&mut self) {
        let held = self.ferry.as_ref().is_some_and(|ferry| ferry.stage() != Ferrying::Over);
        // Before its second pass, and while it is held, QEMU is not meant to.
        if held || self.syncs < 2 || self.cancelled.is_some() {
            return;
        }
        let ram = self.last.ram;
        let lost = self.chase.look(chase::View {
            at: Instant::now(),
            syncs: self.syncs,
            written: ram.dirty_pages_rate,
            carried: ram.pages_per_second,
        });
        if let Some(lost) = lost {
            self.record.remark(lost.to_string());
        }
    }

    /// What decides on QEMU's share of the link.
    fn view(&self) -> View {
        let ferry = self.ferry.as_ref();
        View {
            measured: self.last.ram.mbps > 0.0,
            first_pass: ferry.map_or(0, Ferry::first_pass_bytes),
            compressed: self.compressed,
            syncs: self.syncs,
            given_back: ferry.map_or(0, |ferry| ferry.ledger().given_back_pages()),
        }
    }

    /// Gives pages to QEMU where that is sooner.
    fn share_out(&mut self) {
        let (Some(ferry), Some(pace)) = (&mut self.ferry, &mut self.pace) else { return };
        if ferry.stage() != Ferrying::Proving {
            return;
        }
        let pages = pace.look(pace::View {
            at: Instant::now(),
            settled: ferry.settled_by_storage(),
            outstanding: ferry.ledger().outstanding(),
            sent: self.last.ram.normal * PAGE_BYTES,
            remaining: self.last.ram.remaining + ferry.not_taken_up() * PAGE_BYTES,
            full: self.share == Share::Full,
            syncs: self.last.ram.dirty_sync_count,
        });
        if pages > 0 {
            let given = ferry.leave_to_network(pages);
            pace.given(given);
            log::debug!("{given} pages go by network, which is sooner");
        }
    }

    async fn ended(&mut self) -> Result<Ended, MigrateError> {
        let mut migration = self.last.clone();
        // Completion can be seen before its figures are there.
        for _ in 0..20 {
            if migration.stage() != Stage::Completed || migration.total_time > 0 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
            let again = Migration::of(self.qmp).await;
            migration = self.survivable(again)?;
        }
        self.record.end(self.step);
        let stage = self.last.stage();
        let reason = match stage {
            Stage::Completed => None,
            _ => {
                let cancelled = self.cancelled.take();
                cancelled.or_else(|| migration.error_desc.clone())
            }
        };
        Ok(Ended { stage, migration, reason })
    }

    fn picture(&self) -> Picture {
        let mut picture = Picture {
            status: self.last.status.as_str().into(),
            remaining_bytes: self.last.ram.remaining,
            total_bytes: self.last.ram.total,
            network_bytes: self.last.ram.transferred,
            dirty_pages_per_s: self.last.ram.dirty_pages_rate,
            syncs: self.syncs,
            waits_for: if self.syncs > 1 { "what the guest writes" } else { "the first pass" },
            ..Picture::default()
        };
        let Some(ferry) = &self.ferry else { return picture };
        let skipped = ferry.status().hinted;
        picture.network_bytes += ferry.channel_bytes();
        picture.storage_bytes = ferry.progress().storage_bytes;
        picture.hashed_pages = ferry.hashed_pages();
        if skipped > 0 {
            picture.skipped_pages = skipped;
            picture.placed_pages = ferry.ledger().placed_pages();
            picture.zero_pages = ferry.ledger().zero_pages();
            picture.given_back_pages = ferry.ledger().given_back_pages();
            picture.outstanding_pages = ferry.ledger().outstanding();
        }
        match ferry.stage() {
            Ferrying::Waiting => picture.waits_for = "the library in QEMU",
            Ferrying::Proving if self.syncs > 1 => picture.waits_for = "storage",
            Ferrying::Proving | Ferrying::Returning | Ferrying::Over => {}
        }
        picture
    }
}

async fn news(ferry: &mut Option<Ferry>) -> News {
    match ferry {
        Some(ferry) => ferry.news().await,
        None => std::future::pending().await,
    }
}
