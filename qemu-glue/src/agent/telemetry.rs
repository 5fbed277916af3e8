//! Guest telemetry: reports to the guest how its migration goes, and requests the readings of its probes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use page_number::PAGE_BYTES;
use page_wire::protocol::{Migration, Observed, Times};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Agent;
use crate::channel::MAX_SECONDS;
use migration_record::GuestSecond;

/// How often the guest gets a request.
const EVERY: Duration = Duration::from_millis(250);
/// How often an update is sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most readings that are kept: an hour of them.
const MAX_READINGS: usize = 4 * 3600;
/// Most of anything that a guest does in a second, and most bytes of a page of its server: higher figures are clipped.
const MAX_PER_S: f64 = 1e9;
const MAX_PAGE_BYTES: u64 = 64 << 10;
/// Rates are made over this time of the guest's clock at least.
const SECOND_NS: u64 = 1_000_000_000;

/// The readings of the guest's probes at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When the answer came.
    pub at: Instant,
    /// The answer.
    pub observed: Observed,
}

/// Requests and reports in a task of its own: nothing waits for the guest.
#[derive(Debug)]
pub struct Telemetry {
    news: watch::Sender<Option<Migration>>,
    readings: Arc<Mutex<Vec<Reading>>>,
    task: JoinHandle<()>,
}

impl Telemetry {
    /// Starts the requests.
    #[must_use]
    pub fn begin(agent: Agent) -> Self {
        let (news, updates) = watch::channel(None);
        let readings = Arc::default();
        let task = tokio::spawn(keep(agent, updates, Arc::clone(&readings)));
        Self { news, readings, task }
    }

    /// What is sent to the guest next.
    pub fn report(&self, migration: Migration) {
        self.news.send_replace(Some(migration));
    }

    /// All readings so far.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    mut agent: Agent,
    updates: watch::Receiver<Option<Migration>>,
    readings: Arc<Mutex<Vec<Reading>>>,
) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Instant> = None;
    loop {
        tick.tick().await;
        let status = agent.status().await;
        let observed = match status {
            Ok(status) => status.observed,
            Err(error) => return log::info!("the guest gets no more requests: {error}"),
        };
        if let Some(observed) = observed {
            let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
            if readings.len() < MAX_READINGS {
                readings.push(Reading { at: Instant::now(), observed: *observed });
            }
        }
        let news = *updates.borrow();
        if let Some(news) = news.filter(|_| last.is_none_or(|last| last.elapsed() >= INTERVAL)) {
            last = Some(Instant::now());
            if let Err(error) = agent.report(news).await {
                return log::info!("the guest gets no more updates: {error}");
            }
        }
    }
}

/// Rates between readings that are a second or more of the guest's clock apart. Times are in seconds
/// from `zero`.
#[must_use]
pub fn seconds(readings: &[Reading], zero: Instant) -> Vec<GuestSecond> {
    let mut seconds = Vec::new();
    let Some(mut before) = readings.first() else { return seconds };
    for reading in readings {
        let elapsed_ns = reading.observed.taken_ns.saturating_sub(before.observed.taken_ns);
        if elapsed_ns < SECOND_NS {
            continue;
        }
        seconds.push(second(before, reading, elapsed_ns, zero));
        before = reading;
    }
    seconds
}

/// Seconds from `zero` to `at`, negative where `at` is earlier.
#[must_use]
pub fn seconds_from(zero: Instant, at: Instant) -> f64 {
    at.saturating_duration_since(zero).as_secs_f64()
        - zero.saturating_duration_since(at).as_secs_f64()
}

fn second(before: &Reading, now: &Reading, elapsed_ns: u64, zero: Instant) -> GuestSecond {
    let rate = |now: u64, then: u64| {
        (real(now.saturating_sub(then)) * 1e9 / real(elapsed_ns)).min(MAX_PER_S)
    };
    let of = |times: fn(&Observed) -> &Option<Times>| {
        let [now, then] = [times(&now.observed).as_ref()?, times(&before.observed).as_ref()?];
        Some((now.count.saturating_sub(then.count), now.sum_ns.saturating_sub(then.sum_ns)))
    };
    let commits = of(|observed| &observed.commits);
    let commands = of(|observed| &observed.queries);
    let per_page = u64::from(now.observed.page_size).min(MAX_PAGE_BYTES) / PAGE_BYTES;
    let pages = |kind: fn(&Observed) -> u64| {
        rate(kind(&now.observed), kind(&before.observed)) * real(per_page.max(1))
    };
    GuestSecond {
        at_s: seconds_from(zero, now.at),
        commits_per_s: commits.map(|(count, _)| rate(count, 0)),
        commands_per_s: commands.map(|(count, _)| rate(count, 0)),
        command_ms: commands
            .filter(|(count, _)| *count > 0)
            .map(|(count, sum_ns)| (real(sum_ns) / real(count) / 1e6).min(MAX_SECONDS * 1e3)),
        dirtied_per_s: pages(|observed| observed.events.dirtied),
        written_per_s: pages(|observed| observed.events.writes),
        read_per_s: pages(|observed| observed.events.reads),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads the sixteenth digit of a rate")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use page_wire::protocol::{Blocks, Kinds, PerSecond};

    use super::*;

    fn reading(at: Instant, ms: u64, commits: u64) -> Reading {
        let times = Times { count: commits, sum_ns: commits * 2_000_000, ..Times::default() };
        let observed = Observed {
            taken_ns: ms * 1_000_000,
            since_attach_s: 0.0,
            page_size: 16384,
            blocks: Blocks::default(),
            events: Kinds { dirtied: commits, ..Kinds::default() },
            per_second: PerSecond::default(),
            queries: Some(times.clone()),
            commits: Some(times),
            drift: 0,
        };
        Reading { at, observed }
    }

    #[test]
    fn rates_are_by_the_guests_own_clock() {
        let zero = Instant::now() + Duration::from_secs(10);
        let at = |ms| zero - Duration::from_secs(10) + Duration::from_millis(ms);
        // The VM stood still for five seconds after its first.
        let readings =
            [reading(at(0), 100, 0), reading(at(500), 600, 50), reading(at(6000), 1100, 100)];
        let seconds = seconds(&readings, zero);
        assert_eq!(seconds.len(), 1);
        assert!((seconds[0].at_s + 4.0).abs() < 1e-6, "{seconds:?}");
        assert_eq!(seconds[0].commits_per_s, Some(100.0));
        assert_eq!(seconds[0].command_ms, Some(2.0));
        assert!((seconds[0].dirtied_per_s - 400.0).abs() < 1e-6);
    }

    #[test]
    fn what_a_guest_says_of_itself_is_no_more_than_can_be() {
        let zero = Instant::now();
        let mut last = reading(zero, 2000, u64::MAX / 2_000_000);
        last.observed.page_size = u32::MAX;
        let most = Times { count: 1, sum_ns: u64::MAX, ..Times::default() };
        last.observed.queries = Some(most);
        last.observed.events.writes = u64::MAX;
        let seconds = seconds(&[reading(zero, 0, 0), last], zero);
        let [second] = &seconds[..] else { panic!("{seconds:?}") };
        assert!(second.commits_per_s.unwrap() <= MAX_PER_S, "{second:?}");
        let most_pages = MAX_PER_S * real(MAX_PAGE_BYTES / PAGE_BYTES);
        assert!(second.written_per_s <= most_pages, "{second:?}");
        assert!(second.dirtied_per_s <= most_pages, "{second:?}");
        assert!(second.command_ms.unwrap() <= MAX_SECONDS * 1e3, "{second:?}");
    }
}
