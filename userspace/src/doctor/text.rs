//! The report for people: a mark a line, the remedy under each finding.

use std::io::{self, Write};

use crossterm::style::{Color, Stylize as _};

use super::{Check, Report, Status};
use crate::viewer::{Colors, units};

impl Status {
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

impl Report {
    /// Writes the report, one line a check.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write, colors: Colors) -> io::Result<()> {
        let all = self.machine.iter().chain(&self.server);
        let width = all.map(|check| check.name.len()).max().unwrap_or(0);
        for (title, checks) in [("This machine", &self.machine), ("The server", &self.server)] {
            writeln!(out, "{title}")?;
            for check in checks {
                line(out, check, width, colors)?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", self.verdict())
    }

    fn verdict(&self) -> String {
        let plural = |count, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let warnings = plural(self.count(Status::Warning), "warning");
        match self.count(Status::Fail) {
            0 => format!("Observing works here ({warnings})."),
            failed => {
                format!("Observing does not work here: {} ({warnings}).", plural(failed, "failure"))
            }
        }
    }
}

fn line(out: &mut impl Write, check: &Check, width: usize, colors: Colors) -> io::Result<()> {
    let mark = check.status.mark();
    match colors {
        Colors::None => write!(out, "  {mark}")?,
        _ => write!(out, "  {}", mark.with(check.status.color()))?,
    }
    // Paths, serial numbers and version strings are foreign: no control characters.
    writeln!(out, "  {:width$}  {}", check.name, units::clean(&check.found))?;
    if let Some(remedy) = &check.remedy {
        writeln!(out, "  {:7}  {:width$}  remedy: {}", "", "", units::clean(remedy))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report, colors: Colors) -> String {
        let mut out = Vec::new();
        report.write(&mut out, colors).unwrap();
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
  warning  disk          a\u{fffd}[2Jb
                         remedy: name it

Observing does not work here: 1 failure (1 warning).
";
        assert_eq!(text(&report, Colors::None), expected);
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
