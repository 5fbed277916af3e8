//! The pages left behind, from the hint to the last one settled.
//!
//! ```text
//! Waiting ── hint returned ──> Proving ── nothing outstanding ──> Returning ── QEMU has it ──> Over
//!    └──── refused, trouble ──────┴──────── trouble ─────────────────┘
//! ```
//! Trouble is whatever keeps pages from being proven. It ends the ferry: what is not settled goes back
//! to QEMU while the VM still runs, and the migration goes on as a stock one (invariants I1, I8). A set that
//! no migration has taken yet is taken back instead.
//!
//! QEMU takes up what goes back at its next sync. Let go before that, it may switch over without one (see `hold.rs`),
//! and has all of it to send while the VM stands still.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use foreign::Text;
use page_wire::ask::{Migration, Phase};
use serde_json::Value;
use tokio::sync::mpsc;

use super::hash::{self, Hashed};
use super::heard::{Heard, LastWord, Settled};
use super::ledger::Ledger;
use super::link::{LAST_WORD, Link};
use super::prepare::Prepared;
use super::zero::{self, Looked};
use crate::agent::Visit;
use crate::channel::{ChannelError, Finish, Message, NotPlaced, PageRange, Progress};
use crate::guest::GuestRam;
use crate::set::SkipSet;
use crate::shim::{Armed, ShimError, State, Status};

/// How long the library may take from the `migrate` command to the end of its hints; connecting to the
/// destination's QEMU is part of it.
const HINT: Duration = Duration::from_secs(60);

/// Why pages are given back that storage would have had: the reason as it stands in reports.
const SOONER: &str = "sooner-by-network";

/// Why pages are given back that were zero before the hint, and are not after it.
const WRITTEN: &str = "written";

/// Why pages are given back that the source's own threads did not read.
const NOT_READ: &str = "not-read";

/// Where the ferry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The library has not hinted the set yet.
    Waiting,
    /// Hashes go out, answers come in.
    Proving,
    /// All is settled, and what goes back to QEMU is on its way to it.
    Returning,
    /// QEMU is let go.
    Over,
}

/// Something for the ferry to look at.
#[derive(Debug)]
pub(super) enum News {
    Said(Option<Result<Message, ChannelError>>),
    Hashed(Option<Hashed>),
    Looked(Option<Looked>),
}

pub(super) struct Ferry {
    armed: Armed,
    set: Arc<SkipSet>,
    ram: Arc<GuestRam>,
    link: Link,
    visit: Visit,
    ledger: Ledger,
    /// Hashes, while there are more to come.
    hashes: Option<mpsc::Receiver<Hashed>>,
    /// Zero pages looked at again, likewise.
    zeros: Option<mpsc::UnboundedReceiver<Looked>>,
    stop: Arc<AtomicBool>,
    hashed: u64,
    /// Pages that the destination did not place.
    not_placed: u64,
    /// Pages from this one on need no hash any more.
    hash_end: Arc<AtomicU32>,
    left_out: HashSet<u16>,
    reasons: BTreeMap<Text, u64>,
    heard: Heard,
    stage: Stage,
    begun: Instant,
    /// Syncs that the library had seen when all was settled.
    ended_at: u32,
    /// The channel tells no more.
    deaf: bool,
}

impl Ferry {
    /// Arms the set, and holds the switchover until all is settled.
    pub(super) fn arm(
        prepared: Prepared,
        link: Link,
        left_out: HashSet<u16>,
        silence: Duration,
    ) -> Result<Self, (ShimError, Link)> {
        let Prepared { shim, ram, plan, visit } = prepared;
        let heard = Heard::new(plan.set.pages(), silence);
        let armed = match shim.arm(&plan.set) {
            Ok(armed) => armed,
            Err(error) => return Err((error, link)),
        };
        armed.set_hold(true);
        Ok(Self {
            armed,
            ledger: Ledger::new(plan.set.pages()),
            set: Arc::new(plan.set),
            ram,
            link,
            visit,
            hashes: None,
            zeros: None,
            stop: Arc::default(),
            hashed: 0,
            not_placed: 0,
            hash_end: Arc::new(AtomicU32::new(u32::MAX)),
            left_out,
            reasons: BTreeMap::new(),
            heard,
            stage: Stage::Waiting,
            begun: Instant::now(),
            ended_at: 0,
            deaf: false,
        })
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// All is settled; trouble is none any more.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Returning | Stage::Over)
    }

    /// Bytes of RAM that are in no set: all that QEMU has to send in its first pass.
    pub(super) fn first_pass_bytes(&self) -> u64 {
        let blocks = self.ram.blocks().iter().map(|block| block.length);
        blocks.sum::<u64>().saturating_sub(self.set.bytes())
    }

    pub(super) fn status(&self) -> Status {
        self.armed.status()
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) const fn visit(&self) -> &Visit {
        &self.visit
    }

    /// Tells the people in the guest how it goes.
    pub(super) fn tell(&self, phase: Phase, remaining_bytes: u64) {
        self.visit.tell(Migration {
            phase,
            skipped: self.status().hinted,
            placed: self.ledger.placed_pages(),
            given_back: self.ledger.given_back_pages(),
            remaining_bytes,
        });
    }

    pub(super) const fn progress(&self) -> &Progress {
        self.heard.progress()
    }

    /// QEMU, which has the whole link, sends so many bytes a second.
    pub(super) fn network(&mut self, bytes_per_s: f64) {
        self.heard.network(bytes_per_s);
    }

    pub(super) const fn hashed_pages(&self) -> u64 {
        self.hashed
    }

    pub(super) fn channel_bytes(&self) -> u64 {
        self.link.bytes()
    }

    /// What comes next, from the destination or from the threads that hash. Loses nothing when it is
    /// dropped.
    pub(super) async fn news(&mut self) -> News {
        // Hashes are taken only when they can be sent at once, and are of use soon.
        let room = self.link.out.capacity() > 0 && self.ledger.wants_hashes();
        let hashes = async {
            match &mut self.hashes {
                Some(hashes) if room => hashes.recv().await,
                _ => std::future::pending().await,
            }
        };
        let said = async {
            match self.deaf {
                false => self.link.incoming.recv().await,
                true => std::future::pending().await,
            }
        };
        let zeros = async {
            match &mut self.zeros {
                Some(zeros) => zeros.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            said = said => News::Said(said),
            hashed = hashes => News::Hashed(hashed),
            looked = zeros => News::Looked(looked),
        }
    }

    /// Looks at what the destination has said already. An error is trouble.
    pub(super) fn catch_up(&mut self) -> Result<(), String> {
        // No more than waits: a destination that never stops would be listened to for ever.
        for _ in 0..self.link.incoming.len() {
            let Some(said) = self.link.incoming.try_recv() else { break };
            self.take(News::Said(Some(said)))?;
        }
        Ok(())
    }

    /// Looks at news. An error is trouble: the caller ends the ferry with it.
    pub(super) fn take(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Hashed(Some(hashed)) => self.send(hashed),
            News::Hashed(None) => {
                self.hashes = None;
                // Nobody can prove what a thread could not read, or has left when it fell.
                let unhashed = self.ledger.give_back_unhashed(self.set.zero_pages());
                self.leave(NOT_READ, unhashed);
                Ok(())
            }
            News::Looked(Some(looked)) => self.looked(looked),
            News::Looked(None) => {
                self.zeros = None;
                let zeros = PageRange { first: 0, count: self.set.zero_pages() };
                let rest = self.ledger.given_back(zeros).map_err(|error| error.to_string())?;
                self.leave(NOT_READ, rest);
                Ok(())
            }
            News::Said(Some(Ok(message))) => self.hear(message),
            News::Said(Some(Err(error))) => {
                self.deaf = true;
                Err(format!("the channel to the destination broke: {error}"))
            }
            News::Said(None) => {
                self.deaf = true;
                Err("the channel to the destination ended".to_owned())
            }
        }
    }

    fn send(&mut self, Hashed { first, hashes }: Hashed) -> Result<(), String> {
        let count = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        // First the ledger: an answer may come before the next line.
        self.ledger.hash_sent(PageRange { first: first.0, count });
        self.hashed += u64::from(count);
        let sent = self.link.out.try_send(Message::Hashes { first: first.0, hashes });
        sent.map_err(|_| "the channel to the destination takes no more hashes".to_owned())
    }

    /// Zero pages are settled without the destination: it has made holes of them.
    fn looked(&mut self, Looked { zero, written }: Looked) -> Result<(), String> {
        if self.has_ended() {
            return Ok(());
        }
        for range in zero {
            let fresh = self.ledger.zero(range).map_err(|error| error.to_string())?;
            fresh.into_iter().for_each(|range| self.armed.confirm(range));
        }
        for range in written {
            let fresh = self.ledger.given_back(range).map_err(|error| error.to_string())?;
            self.give_back(WRITTEN, &fresh);
        }
        Ok(())
    }

    fn hear(&mut self, message: Message) -> Result<(), String> {
        if self.has_ended() {
            self.heard.hear_after(message);
            return Ok(());
        }
        let mut settled = Vec::new();
        let heard = self.heard.hear(message, &mut self.ledger, &mut settled);
        for settled in settled {
            match settled {
                Settled::Placed(fresh) => {
                    fresh.into_iter().for_each(|range| self.armed.confirm(range));
                }
                Settled::NotPlaced(why, fresh) => {
                    self.not_placed += count(&fresh);
                    self.give_back(&name(why), &fresh);
                }
            }
        }
        heard
    }

    /// Pages that storage was asked for and that are settled.
    pub(super) const fn settled_by_storage(&self) -> u64 {
        self.ledger.placed_pages() + self.not_placed
    }

    /// Pages given back that QEMU has not learnt of yet.
    pub(super) fn not_taken_up(&self) -> u64 {
        self.ledger.given_back_pages().saturating_sub(self.armed.status().given_back_asked)
    }

    /// Leaves up to `pages` pages to QEMU, those that storage would come to last; gives how many.
    pub(super) fn leave_to_network(&mut self, pages: u64) -> u64 {
        if self.stage != Stage::Proving {
            return 0;
        }
        let Ok(room) = self.link.out.try_reserve() else { return 0 };
        let (ranges, end) = self.ledger.give_back_last(pages);
        room.send(Message::Taken(ranges.clone()));
        self.hash_end.store(end, Ordering::Relaxed);
        self.give_back(SOONER, &ranges);
        count(&ranges)
    }

    /// Leaves these pages to QEMU, and tells the destination, which may wait for their hashes.
    fn leave(&mut self, reason: &str, ranges: Vec<PageRange>) {
        if !ranges.is_empty() {
            log::error!("{} pages were not read at the source: QEMU sends them", count(&ranges));
            self.give_back(reason, &ranges);
            // No error: what it still waits for ends with the migration.
            let _ = self.link.out.try_send(Message::Taken(ranges));
        }
    }

    fn give_back(&mut self, reason: &str, ranges: &[PageRange]) {
        for range in ranges {
            self.armed.give_back(*range);
            *self.reasons.entry(reason.into()).or_default() += u64::from(range.count);
        }
    }

    /// Looks at the library and at the clock. `true` when the stage is over that it is in, [`Stage::Proving`] or
    /// [`Stage::Returning`]; an error is trouble.
    pub(super) fn look(&mut self, syncs: u64) -> Result<bool, String> {
        match self.stage {
            Stage::Over => Ok(false),
            Stage::Returning => Ok(self.is_taken_up()),
            Stage::Waiting => self.wait_for_hint(syncs).map(|()| false),
            Stage::Proving if self.ledger.outstanding() == 0 => Ok(true),
            Stage::Proving => self.goes_on().map(|()| false),
        }
    }

    /// Whether the destination still settles pages.
    fn goes_on(&mut self) -> Result<(), String> {
        if self.heard.stalls(&self.ledger).is_some() {
            // What lies unread has been said: QEMU's monitor may have kept us from it.
            self.catch_up()?;
            if self.ledger.outstanding() > 0
                && let Some(why) = self.heard.stalls(&self.ledger)
            {
                return Err(why);
            }
        }
        Ok(())
    }

    fn wait_for_hint(&mut self, syncs: u64) -> Result<(), String> {
        let status = self.armed.status();
        match status.state {
            State::Hinted if status.hint_returned_ns.is_some() => self.prove(),
            State::Refused => {
                let reason = status.reason.map(|reason| reason.to_string()).unwrap_or_default();
                Err(format!("the library in QEMU skips nothing: {reason}"))
            }
            State::Ended => Err("the library in QEMU has ended before it began".to_owned()),
            State::Armed if syncs > 1 => {
                Err("the library in QEMU did not see the migration begin".to_owned())
            }
            _ if self.begun.elapsed() > HINT => {
                Err(format!("the library in QEMU did not act within {} s", HINT.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// The hint has returned: what is read of RAM from here on counts (invariant I2).
    fn prove(&mut self) -> Result<(), String> {
        self.stage = Stage::Proving;
        let started =
            hash::start(&self.ram, &self.set, hash::default_threads(), &self.stop, &self.hash_end);
        self.hashes = Some(started.map_err(|error| format!("no thread to hash with: {error}"))?);
        let started = zero::verify(&self.ram, &self.set, &self.stop);
        self.zeros = Some(started.map_err(|error| format!("no thread to look with: {error}"))?);
        let all = self.set.pieces(0..self.set.pages());
        let unreadable: Vec<PageRange> = all
            .filter(|(_, run)| self.left_out.contains(&run.medium))
            .map(|(first, run)| PageRange { first: first.0, count: run.pages })
            .collect();
        for range in unreadable {
            let fresh = self.ledger.given_back(range).map_err(|error| error.to_string())?;
            self.give_back("medium-left-out", &fresh);
        }
        Ok(())
    }

    /// What is not settled goes back to QEMU for `reason`. The switchover is still held; see
    /// [`Self::let_go`].
    pub(super) fn end(&mut self, reason: &str) {
        self.stage = Stage::Returning;
        self.stop.store(true, Ordering::Relaxed);
        self.armed.disarm();
        self.hashes = None;
        self.zeros = None;
        let rest = self.ledger.give_back_rest();
        self.give_back(reason, &rest);
        if !rest.is_empty() {
            // No error: whether the destination still hears does not matter.
            let _ = self.link.out.try_send(Message::Taken(rest));
        }
        self.ended_at = self.armed.status().syncs;
    }

    /// Whether QEMU knows of all that it has to send.
    fn is_taken_up(&self) -> bool {
        let status = self.armed.status();
        let syncs = status.syncs.saturating_sub(self.ended_at);
        match status.state {
            // It was taken back before a migration took it, or nothing of it was hinted.
            State::Armed | State::Refused | State::Ended => true,
            State::Hinting => false,
            // One that had begun before may have looked too early; the second has not, whatever the figures say.
            State::Hinted => (syncs > 0 && self.not_taken_up() == 0) || syncs > 1,
        }
    }

    /// Lets QEMU switch over.
    pub(super) fn let_go(&mut self) {
        self.stage = Stage::Over;
        self.armed.set_hold(false);
    }

    /// Tells the destination how it ended and waits for its last word.
    pub(super) async fn finish(&mut self, finish: Finish) -> Option<LastWord> {
        let last_word = async {
            self.link.out.send(Message::Finish(finish)).await.ok()?;
            while !self.heard.has_finished() && !self.deaf {
                let said = self.link.incoming.recv().await;
                if self.take(News::Said(said)).is_err() {
                    break;
                }
            }
            self.heard.take_last_word()
        };
        tokio::time::timeout(LAST_WORD, last_word).await.ok().flatten()
    }

    /// Pages given back by reason, with those that the library gave back by itself; none when it had
    /// left none behind.
    pub(super) fn reasons(&self, status: &Status) -> BTreeMap<Text, u64> {
        if status.hinted == 0 {
            return BTreeMap::new();
        }
        let mut reasons = self.reasons.clone();
        if status.given_back_unconfirmed > 0 {
            reasons.insert("unconfirmed".into(), status.given_back_unconfirmed);
        }
        reasons
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn count(ranges: &[PageRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.count)).sum()
}

/// The reason as it stands in reports.
fn name(why: NotPlaced) -> String {
    match serde_json::to_value(why) {
        Ok(Value::String(name)) => name,
        _ => format!("{why:?}"),
    }
}
