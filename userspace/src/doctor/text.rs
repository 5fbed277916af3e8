//! The report for people: a mark for each check, the remedy under each finding.

use std::io::{self, Write};

use crossterm::style::{Color, Stylize as _};

use super::check::counted;
use super::{Check, CheckStatus, Report};
use crate::viewer::Colors;

impl CheckStatus {
    /// As wide as the widest.
    const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok     ",
            Self::Warning => "warning",
            Self::Fail => "FAIL   ",
            Self::Unknown => "unknown",
        }
    }

    const fn color(self) -> Color {
        match self {
            Self::Ok => Color::Green,
            Self::Warning => Color::Yellow,
            Self::Fail => Color::Red,
            Self::Unknown => Color::Blue,
        }
    }
}

/// Columns that a finding has at least, however narrow the terminal.
const LEAST_COLUMNS: usize = 30;

impl Report {
    /// Writes the report in lines of at most `columns`.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write, colors: Colors, columns: usize) -> io::Result<()> {
        let all = self.machine.iter().chain(&self.server);
        let name = all.map(|check| check.name.len()).max().unwrap_or(0);
        let layout = Layout { colors, name, columns };
        for (title, checks) in [("This machine", &self.machine), ("The server", &self.server)] {
            writeln!(out, "{title}")?;
            for check in checks {
                layout.write(out, check)?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", self.verdict())
    }

    fn verdict(&self) -> String {
        let warnings = counted(self.count(CheckStatus::Warning), "warning");
        match self.count(CheckStatus::Fail) {
            0 => format!("Observing works here ({warnings})."),
            failed => {
                format!(
                    "Observing does not work here: {} ({warnings}).",
                    counted(failed, "failure")
                )
            }
        }
    }
}

/// How lines look.
struct Layout {
    colors: Colors,
    /// Width of the names' column.
    name: usize,
    /// Width of the whole.
    columns: usize,
}

impl Layout {
    fn write(&self, out: &mut impl Write, check: &Check) -> io::Result<()> {
        let (mark, indent) = (check.status.mark(), 2 + 7 + 2 + self.name + 2);
        match self.colors {
            Colors::None => write!(out, "  {mark}")?,
            _ => write!(out, "  {}", mark.with(check.status.color()))?,
        }
        write!(out, "  {:1$}  ", check.name, self.name)?;
        let room = self.columns.saturating_sub(indent).max(LEAST_COLUMNS);
        let mut lines = wrap(&check.found.to_string(), room);
        if let Some(remedy) = &check.remedy {
            lines.extend(wrap(&format!("remedy: {}", remedy), room));
        }
        writeln!(out, "{}", lines.join(&format!("\n{:indent$}", "")))
    }
}

/// Breaks at blanks; a longer word keeps a line of its own.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report, colors: Colors) -> String {
        let mut out = Vec::new();
        report.write(&mut out, colors, 200).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_line_up_and_remedies_stand_below() {
        let machine =
            vec![Check::ok("kernel", "6.18"), Check::fail("capabilities", "none", "run as root")];
        let server = vec![Check::warning("disk", "a\u{1b}[2Jb", "name it")];
        let report = Report::new(machine, server);
        let expected = "\
This machine
  ok       kernel        6.18
  FAIL     capabilities  none
                         remedy: run as root

The server
  warning  disk          a\\u{1b}[2Jb
                         remedy: name it

Observing does not work here: 1 failure (1 warning).
";
        assert_eq!(text(&report, Colors::None), expected);
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        assert_eq!(wrap("ab cd efghij k", 5), ["ab cd", "efghij", "k"]);
        assert_eq!(wrap("", 5), [""]);
        let report = Report::new(vec![Check::fail("a", "word ".repeat(40), "x")], Vec::new());
        let mut out = Vec::new();
        report.write(&mut out, Colors::None, 60).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.lines().all(|line| line.len() <= 60), "{shown}");
        assert_eq!(shown.matches("word").count(), 40);
    }

    #[test]
    fn colours_come_only_when_wanted() {
        crossterm::style::force_color_output(true);
        let report = Report::new(vec![Check::ok("kernel", "6.18")], Vec::new());
        assert!(text(&report, Colors::Indexed).contains('\u{1b}'));
        assert!(!text(&report, Colors::None).contains('\u{1b}'));
        assert!(text(&report, Colors::None).ends_with("Observing works here (0 warnings).\n"));
    }
}
