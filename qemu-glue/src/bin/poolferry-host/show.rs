//! A migration as it is shown while it runs.

use std::time::Duration;

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};
use qemu_glue::report::{self, Report};
use qemu_glue::source::{Picture, Update};
use serde::Serialize;

/// One way to show it.
pub(crate) trait Show: Send {
    /// Something happened.
    fn update(&mut self, update: &Update);
    /// It is over.
    fn end(&mut self, report: &Report);
}

/// One JSON object a line.
#[derive(Default)]
pub(crate) struct Jsonl {
    reader_gone: bool,
}

impl Jsonl {
    /// A reader that goes away does not end a migration.
    fn line(&mut self, value: &impl Serialize) {
        use std::io::Write as _;
        if self.reader_gone {
            return;
        }
        let written =
            serde_json::to_string(value).map_err(std::io::Error::from).and_then(|mut text| {
                text.push('\n');
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            });
        self.reader_gone = written.is_err();
    }
}

impl Show for Jsonl {
    fn update(&mut self, update: &Update) {
        self.line(update);
    }

    fn end(&mut self, report: &Report) {
        #[derive(Serialize)]
        struct End<'a> {
            told: &'static str,
            status: report::Status,
            reason: &'a Option<foreign::Text>,
            total_time_s: f64,
            downtime_ms: f64,
            network_bytes: u64,
            storage_bytes: u64,
            pages: report::Pages,
        }
        self.line(&End {
            told: "end",
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
            Update::Step { name } => say(name),
            Update::Remark { text } => say(&format!("  {text}")),
            Update::Limits { .. } => {}
            Update::Picture(picture) => {
                if self.last_s.is_none_or(|last| picture.at_s - last >= 1.0) {
                    self.last_s = Some(picture.at_s);
                    say(&line(picture));
                }
            }
        }
    }

    fn end(&mut self, report: &Report) {
        say(&report::text(std::slice::from_ref(report)));
    }
}

/// A reader that goes away does not end a migration.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn line(picture: &Picture) -> String {
    let mut line = format!(
        "  {:6.1} s  network {} ({}/s), {} left",
        picture.at_s,
        BinaryBytes(picture.network_bytes),
        rate(picture.network_bytes_per_s),
        BinaryBytes(picture.remaining_bytes),
    );
    if picture.skipped_pages > 0 {
        line += &format!(
            "; storage {} ({}/s), {} of {} pages placed, {} given back",
            BinaryBytes(picture.storage_bytes),
            rate(picture.storage_bytes_per_s),
            picture.placed_pages,
            picture.skipped_pages,
            picture.given_back_pages,
        );
    }
    line + &format!("; waits for {}{}", picture.waits_for, eta(picture))
}

fn eta(picture: &Picture) -> String {
    picture.eta_s.map_or_else(String::new, |eta| format!(", about {eta:.0} s"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and far below what 64 bits hold"
)]
fn rate(bytes_per_s: f64) -> BinaryBytes {
    BinaryBytes(bytes_per_s as u64)
}

/// Bars on a terminal.
pub(crate) struct Bars {
    bars: MultiProgress,
    network: ProgressBar,
    storage: ProgressBar,
    status: ProgressBar,
}

impl Bars {
    pub(crate) fn new() -> Self {
        let bars = MultiProgress::new();
        let bar = |name: &'static str, template: &str| {
            let style = ProgressStyle::with_template(template);
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name);
            bar
        };
        let template = "{prefix:8} {bar:40} {percent:>3} %  {msg}";
        let network = bar("memory", template);
        let storage = bar("restored", template);
        let status = bar("", "{spinner} {msg}");
        status.enable_steady_tick(Duration::from_millis(100));
        Self { bars, network, storage, status }
    }

    fn picture(&self, picture: &Picture) {
        self.network.set_length(picture.total_bytes);
        self.network.set_position(picture.total_bytes.saturating_sub(picture.remaining_bytes));
        self.network.set_message(format!(
            "{} by network, {}/s, {} left",
            BinaryBytes(picture.network_bytes),
            rate(picture.network_bytes_per_s),
            BinaryBytes(picture.remaining_bytes),
        ));
        if picture.skipped_pages > 0 {
            self.storage.set_length(picture.skipped_pages);
            self.storage
                .set_position(picture.skipped_pages.saturating_sub(picture.outstanding_pages));
            self.storage.set_message(format!(
                "{} from storage, {}/s, {} outstanding, {} given back",
                BinaryBytes(picture.storage_bytes),
                rate(picture.storage_bytes_per_s),
                picture.outstanding_pages,
                picture.given_back_pages,
            ));
        }
        self.status.set_message(format!(
            "{:.1} s, {}: waits for {}{}",
            picture.at_s,
            picture.status,
            picture.waits_for,
            eta(picture),
        ));
    }
}

impl Show for Bars {
    fn update(&mut self, update: &Update) {
        match update {
            Update::Step { name } => self.status.set_message(*name),
            // A terminal that is gone does not end a migration.
            Update::Remark { text } => drop(self.bars.println(text.to_string())),
            Update::Limits { .. } => {}
            Update::Picture(picture) => self.picture(picture),
        }
    }

    fn end(&mut self, report: &Report) {
        self.status.finish_and_clear();
        self.network.abandon();
        self.storage.abandon();
        say(&report::text(std::slice::from_ref(report)));
    }
}
