//! The page: one HTML document that explains itself.

mod amounts;
mod figure;
mod over_time;
mod overview;
#[cfg(test)]
mod sample;
mod tables;
mod tiles;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::cell::{self, Comparison};
use super::verdict;
use migration_record::Report;

#[cfg(test)]
pub(super) use sample::sample_reports;

const STYLE: &str = include_str!("style.css");

/// One page of all records, those that can be compared beside each other.
#[must_use]
pub fn html(reports: &[Report]) -> String {
    let cells = cell::cells(reports);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Live migration report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Live migration report" }
                    p {
                        "A virtual machine with a database moved between two hosts while it ran. Stock QEMU sends all of its memory over the "
                        "migration link. Poolferry leaves out the clean pages of the database's buffer pool: the destination reads them from "
                        "storage, over the storage link, and verifies each page before it counts."
                    }
                }
                @if cells.is_empty() { p { "There is no record of a migration." } }
                (overview::draw(&cells))
                @for (number, cell) in (1..).zip(&cells) { (section(number, cell)) }
                (tables::glossary())
            }
        }
    };
    page.into_string()
}

fn section(number: usize, cell: &Comparison<'_>) -> Markup {
    let figures = amounts::figures(cell).into_iter().chain(over_time::figures(cell));
    html! {
        section id=(overview::anchor(number)) {
            h2 { (cell.title()) }
            @for sentence in verdict::of(cell) { p.verdict { (sentence) } }
            (tiles::draw(cell))
            div.figures { @for figure in figures { (figure.draw()) } }
            (tables::reasons(cell))
            (tables::runs(cell))
            (tables::probes(cell))
            (tables::surroundings(cell))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All drawings of a page, parsed.
    fn drawings(page: &str) -> usize {
        let mut rest = page;
        let mut found = 0;
        while let Some(start) = rest.find("<svg") {
            let end = rest.find("</svg>").unwrap() + "</svg>".len();
            roxmltree::Document::parse(&rest[start..end]).unwrap();
            found += 1;
            rest = &rest[end..];
        }
        found
    }

    #[test]
    fn every_figure_is_there_when_its_data_is() {
        let page = html(&sample_reports());
        for title in [
            "Total migration time",
            "Downtime",
            "Bytes by path",
            "What became of the pages",
            "Making the page list, by step",
            "Memory still to be sent",
            "Throughput of the links: Stock QEMU",
            "Throughput of the links: Poolferry",
            "Transactions per second",
            "Pages written by the guest",
            "Skipped pages on their way: Poolferry",
            "What happened when: Poolferry",
        ] {
            assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
        }
        assert_eq!(drawings(&page), page.matches("<figure>").count());
        assert!(page.contains("counted 1,010 commits, the load 1000 (+1.0 %)"), "two who counted");
    }

    #[test]
    fn no_figure_is_there_without_data() {
        let page = html(&[Report::default()]);
        assert_eq!(drawings(&page), 0);
        assert!(page.contains("failed"), "the run is not shown");
        assert!(html(&[]).contains("no record"));
    }

    #[test]
    fn a_page_needs_nothing_but_itself_and_escapes_what_it_is_told() {
        let mut reports = sample_reports();
        let evil = "</style></svg><script>alert('&\"')</script><img src=x onerror=y>";
        for report in &mut reports {
            report.mode = format!("{}{evil}", report.mode.raw()).into();
            report.workload = evil.into();
            report.reason = Some(evil.into());
            report.machine.processor = evil.into();
            report.warnings.push(evil.into());
            report.redirtied_by_reason.insert(evil.into(), 7);
            report.list_s.insert(evil.into(), 0.1);
            report.phases[0].name = evil.into();
        }
        let page = html(&reports);
        assert!(!page.contains("<script") && !page.contains("<img"), "not escaped");
        assert!(page.contains("&lt;script&gt;"));
        assert!(!page.contains("src=") || page.contains("src=x onerror"), "something is loaded");
        assert!(!page.contains("url(") && !page.contains("@import"));
        let elsewhere = page.split("href=\"").skip(1).filter(|link| !link.starts_with('#'));
        assert_eq!(elsewhere.count(), 0, "a link leads away from the page");
        drawings(&page);
    }
}
