//! The document of a matrix.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{MatrixResult, Outcome};

/// Markdown: a row for each cell.
pub(super) fn render(results: &[MatrixResult]) -> String {
    let good = results.iter().filter(|it| matches!(it.outcome, Outcome::Identical { .. })).count();
    let kernels = results.iter().map(|it| it.guest_system.kernel.raw());
    let kernels: BTreeSet<&str> = kernels.filter(|kernel| !kernel.is_empty()).collect();
    let mut text = format!(
        "# Servers, guest kernels and QEMUs\n\n\
         Made by `cargo xtask matrix`. Each row is a migration of a small VM whose server reads and writes meanwhile, with every byte of RAM compared\n\
         at both sides. {good} of {} rows are green, over {} kernels.\n\n\
         | cell | server | build id | guest's kernel | QEMU | accelerator | seconds | pages skipped | from storage | day |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        results.len(),
        kernels.len(),
    );
    for MatrixResult { cell, day, guest_system, build_id, qemu, accelerator, outcome } in results {
        let build = build_id.as_deref().map_or("none", |id| id.get(..8).unwrap_or(id));
        let (server, kernel) = (&guest_system.server, &guest_system.kernel);
        let _ =
            write!(text, "| `{cell}` | {server} | {build} | {kernel} | {qemu} | {accelerator} | ");
        let _ = match outcome {
            Outcome::Identical { total_time_s, skipped, installed } => {
                writeln!(text, "{total_time_s:.2} | {skipped} | {installed} | {day} |")
            }
            Outcome::Failed { reason } => {
                let reason = foreign::shown(reason).to_string().replace('|', "\\|");
                writeln!(text, "**failed** | {reason} | | {day} |")
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use migration_record::GuestSystem;

    use super::*;

    #[test]
    fn red_cells_say_why() {
        let result = |outcome| MatrixResult {
            cell: "mariadb/sid/10.0".to_owned(),
            day: "2026-11-30".to_owned(),
            guest_system: GuestSystem { server: "MariaDB 10.11.18".into(), kernel: "7.2".into() },
            build_id: Some("7a14d39cfbfb".to_owned()),
            qemu: "10.0.2".to_owned(),
            accelerator: "tcg".to_owned(),
            outcome,
        };
        let good = Outcome::Identical { total_time_s: 1.777, skipped: 9, installed: 8 };
        let bad = Outcome::Failed { reason: "a | b".to_owned() };
        let mut red = result(bad);
        // It has not come so far as to say it.
        red.guest_system = GuestSystem::default();
        let text = render(&[result(good), red]);
        assert!(text.contains("1 of 2 rows are green, over 1 kernels"), "{text}");
        assert!(
            text.contains("| 7a14d39c | 7.2 | 10.0.2 | tcg | 1.78 | 9 | 8 | 2026-11-30 |"),
            "{text}"
        );
        assert!(text.contains("**failed** | a \\| b | | 2026-11-30 |"), "{text}");
    }
}
