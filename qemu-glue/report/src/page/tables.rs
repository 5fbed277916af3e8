//! Tables: every run, why pages were re-dirtied, what the probes counted, where it ran.

use maud::{Markup, html};

use crate::cell::{Comparison, Way};
use crate::units::{Quantity, bytes, count, percent};
use migration_record::{FunctionState, MigrationStatus, Report, Side};

/// Why pages were re-dirtied, in the run of median time of each way.
pub(super) fn reasons(cell: &Comparison<'_>) -> Markup {
    let typical: Vec<_> = cell.ways.iter().filter_map(Way::typical).collect();
    html! {
        @for run in typical.iter().filter(|run| !run.redirtied_by_reason.is_empty()) {
            h3 { "Why pages were re-dirtied" }
            table {
                thead { tr { th { "reason" } th { "pages" } th { "of those skipped" } } }
                tbody {
                    @for (reason, pages) in &run.redirtied_by_reason {
                        tr {
                            td { (reason) }
                            td.number { (count(*pages)) }
                            td.number { (percent(*pages, run.pages.skipped)) }
                        }
                    }
                }
            }
        }
    }
}

/// Every run.
pub(super) fn runs(cell: &Comparison<'_>) -> Markup {
    let runs = || cell.ways.iter().flat_map(|way| way.runs.iter().map(move |run| (way, run)));
    html! {
        h3 { "Every run" }
        table {
            thead {
                tr {
                    th { "way" } th { "run" } th { "ended" } th { "total time" } th { "whole command" } th { "downtime" }
                    th { "service gap" } th { "migration link" } th { "storage link" } th { "syncs" }
                    th { "skipped" } th { "installed" } th { "re-dirtied" } th { "RAM that differs" }
                }
            }
            tbody { @for (way, run) in runs() { (row(way, run)) } }
        }
        @for (way, run) in runs() {
            @if let Some(reason) = &run.reason {
                p.warning { (way.name()) (numbered(run)) " did not complete: " (reason) }
            }
            @if let Some(both) = &run.transactions {
                p.warning {
                    (way.name()) (numbered(run)) ": in the " (Quantity::Seconds.text(both.seconds))
                    " around it, the probes in the guest counted " (count(both.by_probes))
                    " commits, the load " (format!("{:.0}", both.by_load)) " ("
                    (format!("{:+.1} %", 100.0 * both.apart())) ")."
                }
            }
            @for warning in &run.warnings { p.warning { (way.name()) (numbered(run)) ": " (warning) } }
        }
    }
}

fn numbered(run: &Report) -> String {
    run.run.map(|number| format!(", run {number}")).unwrap_or_default()
}

fn row(way: &Way<'_>, run: &Report) -> Markup {
    let ended = match run.status {
        MigrationStatus::Completed => "completed",
        MigrationStatus::Failed => "failed",
        MigrationStatus::Cancelled => "cancelled",
    };
    let gap = run.interruption_ms.map(|gap| Quantity::Milliseconds.text(gap));
    let whole = run.command_s.map(|time| Quantity::Seconds.text(time));
    let identity = run.ram_identity.map(|identity| {
        let differing = bytes(identity.differing_bytes);
        format!("{differing} of {}", bytes(identity.compared_bytes))
    });
    let none = || "–".to_owned();
    html! {
        tr {
            td { (way.name()) }
            td.number { (run.run.map_or_else(none, |number| number.to_string())) }
            td { (ended) }
            td.number { (Quantity::Seconds.text(run.total_time_s)) }
            td.number { (whole.unwrap_or_else(none)) }
            td.number { (Quantity::Milliseconds.text(run.downtime_ms)) }
            td.number { (gap.unwrap_or_else(none)) }
            td.number { (bytes(run.network_bytes)) }
            td.number { (bytes(run.storage_bytes)) }
            td.number { (count(run.dirty_syncs)) }
            td.number { (count(run.pages.skipped)) }
            td.number { (count(run.pages.installed)) }
            td.number { (count(run.pages.redirtied)) }
            td.number { (identity.unwrap_or_else(none)) }
        }
    }
}

/// What is known of the probes on QEMU's functions, so that nobody takes silence for a fact.
pub(super) fn probes(cell: &Comparison<'_>) -> Markup {
    let run = cell.ways.iter().rev().filter_map(Way::typical);
    let probed = run.map(|run| &run.probes).find(|p| p.source.is_some() || p.destination.is_some());
    let Some(probes) = probed else { return Markup::default() };
    html! {
        details {
            summary { "Probes on QEMU's functions" }
            @for (name, side) in [("source", &probes.source), ("destination", &probes.destination)] {
                @if let Some(side) = side { (side_table(name, side)) }
            }
        }
    }
}

fn side_table(name: &str, side: &Side) -> Markup {
    let state = |state| match state {
        FunctionState::Missing => "the program has no such function",
        FunctionState::NeverFired => "never fired: not called, or called through a private copy",
        FunctionState::Fired => "fired",
    };
    html! {
        table {
            thead { tr { th { "at the " (name) } th { "calls" } th { "probe" } } }
            tbody {
                @for function in &side.functions {
                    tr {
                        td { code { (function.name) } }
                        td.number { (count(function.calls)) }
                        td { (state(function.state)) }
                    }
                }
            }
        }
        @if side.lost > 0 { p.warning { (count(side.lost)) " records were lost." } }
    }
}

/// Where the runs were made.
pub(super) fn surroundings(cell: &Comparison<'_>) -> Markup {
    let Some(run) = cell.ways.last().and_then(Way::typical) else { return Markup::default() };
    let (machine, qemu) = (&run.machine, &run.qemu);
    html! {
        details {
            summary { "Where it ran" }
            table {
                tbody {
                    tr { td { "QEMU at the source" } td { (qemu.source) } }
                    tr { td { "QEMU at the destination" } td { (qemu.destination) } }
                    tr { td { "processor" } td { (machine.processor) } }
                    tr { td { "CPUs of the machine" } td { (machine.cpus) } }
                    tr { td { "memory of the machine" } td { (bytes(machine.memory_bytes)) } }
                    tr { td { "kernel" } td { (machine.kernel) } }
                    tr { td { "guest code run by" } td { (machine.accelerator) } }
                    tr { td { "virtual CPUs" } td { (machine.vcpus) } }
                }
            }
        }
    }
}

/// The words that the page uses.
pub(super) fn glossary() -> Markup {
    html! {
        details {
            summary { "Words on this page" }
            dl {
                dt { "total time, whole command" }
                dd {
                    "QEMU counts from its own migrate command on. The whole command also includes what comes before: the page list, the checks and the negotiation with the destination."
                }
                dt { "skipped" }
                dd { "QEMU got the hint not to send the page, before it had sent anything." }
                dt { "installed" }
                dd {
                    "Read from storage at the destination and installed there, after its hash was found equal to that of the source's RAM."
                }
                dt { "re-dirtied" }
                dd { "Skipped at first, but not verified in time: QEMU sent it as any other page." }
                dt { "bitmap sync" }
                dd { "QEMU learns which pages the guest has written since the sync before." }
                dt { "RAM that differs" }
                dd {
                    "At the switchover, with the VM paused on both hosts, all of its RAM is compared byte by byte. Anything but 0 is a bug."
                }
            }
        }
    }
}
