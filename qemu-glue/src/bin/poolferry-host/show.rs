//! A migration as it is shown while it runs.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foreign::Charset;
use indicatif::{
    BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike,
};
use migration_record::Report;
use qemu_glue::source::{Snapshot, Update};
use serde::Serialize;

/// One way to show it.
pub(crate) trait Show: Send {
    /// Something happened.
    fn update(&mut self, update: &Update);
    /// It is over.
    fn end(&mut self, report: &Report);
}

/// One JSON object a line.
pub(crate) struct Jsonl;

impl Jsonl {
    pub(crate) fn new() -> Self {
        outlet::stdout().set_note(|lines| {
            format!("{}\n", serde_json::json!({ "event": "dropped", "lines": lines }))
        });
        Self
    }
}

fn json_line(value: &impl Serialize) {
    if let Ok(text) = foreign::json_text(value) {
        print_line(&text);
    }
}

impl Show for Jsonl {
    fn update(&mut self, update: &Update) {
        json_line(update);
    }

    fn end(&mut self, report: &Report) {
        #[derive(Serialize)]
        struct End<'a> {
            event: &'static str,
            status: migration_record::MigrationStatus,
            reason: &'a Option<foreign::Text>,
            total_time_s: f64,
            downtime_ms: f64,
            network_bytes: u64,
            storage_bytes: u64,
            pages: migration_record::Pages,
        }
        json_line(&End {
            event: "end",
            status: report.status,
            reason: &report.reason,
            total_time_s: report.total_time_s,
            downtime_ms: report.downtime_ms,
            network_bytes: report.network_bytes,
            storage_bytes: report.storage_bytes,
            pages: report.pages,
        });
    }
}

/// A line a second.
#[derive(Default)]
pub(crate) struct Plain {
    last_s: Option<f64>,
}

impl Show for Plain {
    fn update(&mut self, update: &Update) {
        match update {
            Update::Step { name } => print_line(name),
            Update::Warning { text } => print_line(&format!("  {text}")),
            Update::Limits { .. } => {}
            Update::Snapshot(snapshot) => {
                if self.last_s.is_none_or(|last| snapshot.at_s - last >= 1.0) {
                    self.last_s = Some(snapshot.at_s);
                    print_line(&line(snapshot));
                }
            }
        }
    }

    fn end(&mut self, report: &Report) {
        print_line(&migration_report::text(std::slice::from_ref(report)));
    }
}

/// A migration neither waits for a reader that stalls nor ends with one that goes away.
fn print_line(text: &str) {
    outlet::stdout().push(format!("{text}\n").as_bytes());
}

fn line(snapshot: &Snapshot) -> String {
    let mut line = format!(
        "  {:6.1} s  network {} ({}/s), {} left",
        snapshot.at_s,
        BinaryBytes(snapshot.network_bytes),
        rate(snapshot.network_bytes_per_s),
        BinaryBytes(snapshot.remaining_bytes),
    );
    if snapshot.skipped_pages > 0 {
        line += &format!(
            "; storage {} ({}/s), {} of {} pages installed, {} re-dirtied",
            BinaryBytes(snapshot.storage_bytes),
            rate(snapshot.storage_bytes_per_s),
            snapshot.installed_pages,
            snapshot.skipped_pages,
            snapshot.redirtied_pages,
        );
    }
    line + &format!("; waits for {}{}", snapshot.waits_for, eta(snapshot))
}

fn eta(snapshot: &Snapshot) -> String {
    snapshot.eta_s.map_or_else(String::new, |eta| format!(", about {eta:.0} s"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and far below what 64 bits hold"
)]
fn rate(bytes_per_s: f64) -> BinaryBytes {
    BinaryBytes(bytes_per_s as u64)
}

/// Frames a second.
const FRAMES: u8 = 10;

/// Standard error for the bars: whole frames, which go through the outlet. A terminal that takes no bytes for a
/// minute loses some, and the lines after that may stand one too high.
#[derive(Debug, Default)]
struct Terminal(Mutex<Vec<u8>>);

impl Terminal {
    fn add(&self, text: &str) -> io::Result<()> {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Control sequences of ECMA-48; one with 0 would move by 1.
    fn step(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.add(&format!("\u{1b}[{count}{direction}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
        size.ok().map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(80)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.add(s)?;
        self.add("\n")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.add(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outlet::stderr().push(&std::mem::take(&mut *frame));
        Ok(())
    }
}

/// Bars on a terminal.
pub(crate) struct ProgressBars {
    bars: MultiProgress,
    network: ProgressBar,
    storage: ProgressBar,
    status: ProgressBar,
}

impl ProgressBars {
    /// Whether there is a terminal for them, one that can step back. They go to standard error.
    pub(crate) fn can_be_shown() -> bool {
        io::stdout().is_terminal() && io::stderr().is_terminal() && !foreign::is_dumb()
    }

    pub(crate) fn new() -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Terminal::default()), FRAMES);
        let bars = MultiProgress::with_draw_target(target);
        let bar = |name: &'static str, template: &str| {
            let style = ProgressStyle::with_template(template);
            let bar = bars.add(ProgressBar::new(0));
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(match foreign::charset() {
                Charset::Utf8 => style,
                Charset::Ascii => style.progress_chars("#>-").tick_chars("|/-\\ "),
            });
            bar.set_prefix(name);
            bar
        };
        let template = "{prefix:9} {bar:40} {percent:>3} %  {msg}";
        let network = bar("memory", template);
        let storage = bar("installed", template);
        let status = bar("", "{spinner} {msg}");
        status.enable_steady_tick(Duration::from_millis(100));
        Self { bars, network, storage, status }
    }

    fn snapshot(&self, snapshot: &Snapshot) {
        self.network.set_length(snapshot.total_bytes);
        self.network.set_position(snapshot.total_bytes.saturating_sub(snapshot.remaining_bytes));
        self.network.set_message(format!(
            "{} by network, {}/s, {} left",
            BinaryBytes(snapshot.network_bytes),
            rate(snapshot.network_bytes_per_s),
            BinaryBytes(snapshot.remaining_bytes),
        ));
        if snapshot.skipped_pages > 0 {
            self.storage.set_length(snapshot.skipped_pages);
            self.storage
                .set_position(snapshot.skipped_pages.saturating_sub(snapshot.outstanding_pages));
            self.storage.set_message(format!(
                "{} from storage, {}/s, {} outstanding, {} re-dirtied",
                BinaryBytes(snapshot.storage_bytes),
                rate(snapshot.storage_bytes_per_s),
                snapshot.outstanding_pages,
                snapshot.redirtied_pages,
            ));
        }
        self.status.set_message(format!(
            "{:.1} s, {}: waits for {}{}",
            snapshot.at_s,
            snapshot.status,
            snapshot.waits_for,
            eta(snapshot),
        ));
    }
}

impl Show for ProgressBars {
    fn update(&mut self, update: &Update) {
        match update {
            Update::Step { name } => self.status.set_message(*name),
            // A terminal that is gone does not end a migration.
            Update::Warning { text } => drop(self.bars.println(text.to_string())),
            Update::Limits { .. } => {}
            Update::Snapshot(snapshot) => self.snapshot(snapshot),
        }
    }

    fn end(&mut self, report: &Report) {
        self.status.finish_and_clear();
        self.network.abandon();
        self.storage.abandon();
        print_line(&migration_report::text(std::slice::from_ref(report)));
    }
}
