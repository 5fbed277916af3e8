use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::super::made_up::MadeUp;
use super::super::palette::Palette;
use super::super::state::{Input, Viewer};
use super::super::{Colors, LinkRate, ViewerOptions};
use super::*;
use crate::model::{Cell, Snapshot};

fn viewer(colors: Colors, change: impl FnOnce(&mut Snapshot)) -> Viewer {
    let mut pool = MadeUp::new(6_000);
    pool.tracing = true;
    let mut snapshot = pool.step();
    change(&mut snapshot);
    let options = ViewerOptions {
        link_rate: LinkRate::default(),
        refresh: Duration::from_secs(1),
        tracing: true,
        walking: false,
        colors,
        charset: foreign::Charset::Utf8,
    };
    Viewer::new(&options, Arc::new(snapshot), Instant::now())
}

fn press(viewer: &mut Viewer, keys: &str) {
    for c in keys.chars() {
        viewer.apply(Input::Key(KeyCode::Char(c).into()), Instant::now());
    }
}

fn render(viewer: &Viewer, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, viewer)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let area = *buffer.area();
    let line = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..area.height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

/// Cells of the first place where this text stands.
fn find(buffer: &Buffer, wanted: &str) -> (u16, u16) {
    for (y, line) in (0..).zip(text(buffer).lines()) {
        if let Some(at) = line.find(wanted) {
            return (u16::try_from(line[..at].chars().count()).unwrap(), y);
        }
    }
    panic!("no {wanted:?} in\n{}", text(buffer));
}

#[track_caller]
fn assert_shows(screen: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(screen.contains(part), "no {part:?} in\n{screen}");
    }
}

#[test]
fn every_pane_fits_80x24() {
    let mut viewer = viewer(Colors::True, |_| {});
    let totals = viewer.snapshot.totals;
    let clean = units_of(totals.clean);
    let cases: [(&str, &[&str]); 4] = [
        ("1", &["[1 Pool]", "Pool map", &clean, "evictions", "can stay behind", "at 1 Gbit/s"]),
        ("2", &["[2 Tables]", "resident▼", "sbtest/sbtest1", "in pool", "9 tables"]),
        ("3", &["[3 Probes]", "written", "foreign", "p95", "falsely clean", "1180 ns a run"]),
        ("4", &["[4 Trace]", "seconds", "took"]),
    ];
    for (key, wanted) in cases {
        press(&mut viewer, key);
        let screen = text(&render(&viewer, 80, 24));
        assert_shows(&screen, wanted);
        assert_shows(&screen, &["mysql 5.6.24", "pid 4711", "DWARF of the program", "live, 0.0 s"]);
        assert_shows(
            &screen,
            &["no losses · no drift in 1 audit", "probes 0.", "agent 1.3 %", "q quit"],
        );
    }
}

fn units_of(count: u64) -> String {
    super::super::units::count(count)
}

#[test]
fn a_wide_terminal_shows_all_panes_and_zooms_into_one() {
    let mut viewer = viewer(Colors::True, |_| {});
    let all =
        ["Pool map", "Tables ─", "Probes ─", "Latency", "Audit", "Cost", "Trace ─", "Migration"];
    assert_shows(&text(&render(&viewer, 200, 60)), &all);
    press(&mut viewer, "2z");
    let zoomed = text(&render(&viewer, 200, 60));
    assert_shows(&zoomed, &["Tables ─", "sbtest/sbtest3"]);
    let buffer = render(&viewer, 200, 60);
    let title = &buffer[find(&buffer, "Tables ─")];
    assert!(title.modifier.contains(Modifier::BOLD) && !title.modifier.contains(Modifier::DIM));
    assert!(!zoomed.contains("Pool map"), "{zoomed}");
}

#[test]
fn a_small_terminal_says_so_and_shows_the_main_figures() {
    let viewer = viewer(Colors::True, |p| p.audit.drift = 4);
    let screen = text(&render(&viewer, 40, 10));
    assert_shows(&screen, &["40x10 is too small", "76x20", "eligible", "4 drift"]);
    // nothing is too small to be drawn
    for (width, height) in [(1, 1), (2, 50), (76, 1), (3, 3), (75, 20), (76, 19), (76, 20)] {
        render(&viewer, width, height);
    }
}

#[test]
fn losses_and_drift_are_red_and_their_absence_is_calm() {
    let viewer = viewer(Colors::True, |snapshot| {
        snapshot.audit.drift = 3;
        snapshot.audit.falsely_clean = 1;
        snapshot.probes[2].ring_lost = 1_234;
        snapshot.probes[1].faults = 9;
        snapshot.notices.push("server has exited".into());
    });
    let buffer = render(&viewer, 80, 24);
    let alarm = Color::Rgb(229, 83, 75);
    for wanted in ["3 drift", "1 falsely clean", "1,234 trace records lost", "9 faults"] {
        assert_eq!(buffer[find(&buffer, wanted)].fg, alarm, "{wanted}");
    }
    assert_shows(&text(&buffer), &["! server has exited"]);
    let calm = render(&self::viewer(Colors::True, |_| {}), 80, 24);
    assert!(calm.content().iter().all(|cell| cell.fg != alarm));
}

#[test]
fn the_map_shows_where_the_states_are() {
    // first half clean, second half free, one dirty block in the first cell
    let viewer = viewer(Colors::True, |snapshot| {
        snapshot.cells = vec![Cell::Clean; 4_000];
        snapshot.cells[2_000..].fill(Cell::Free);
        snapshot.cells[0] = Cell::Dirty;
    });
    let buffer = render(&viewer, 80, 24);
    let first = find(&buffer, "▀");
    let (clean, free) = (Color::Rgb(95, 175, 135), Color::Rgb(48, 48, 48));
    let at = |dx, dy| &buffer[(first.0 + dx, first.1 + dy)];
    assert_ne!(at(0, 0).fg, clean, "the dirty block tints its cell");
    assert_eq!((at(1, 0).fg, at(1, 0).bg), (clean, clean));
    let map: Vec<_> = buffer.content().iter().filter(|cell| cell.symbol() == "▀").collect();
    let share = |color| map.iter().filter(|cell| cell.fg == color).count() * 100 / map.len();
    assert!((45..=55).contains(&share(clean)) && (45..=55).contains(&share(free)));
    assert_shows(&text(&buffer), &["a half cell is 4 blocks, 64.0 KiB"]);
}

#[test]
fn a_pool_smaller_than_the_map_takes_a_part_a_block() {
    let viewer = viewer(Colors::True, |snapshot| snapshot.cells = vec![Cell::Clean; 100]);
    let buffer = render(&viewer, 80, 24);
    assert_shows(&text(&buffer), &["a half cell is 1 block, 16.0 KiB"]);
    // 78 parts in the upper half line, 22 in the lower one
    let map: Vec<_> = buffer.content().iter().filter(|cell| cell.symbol() == "▀").collect();
    let lower = map.iter().filter(|cell| cell.bg != Color::Reset).count();
    assert_eq!((map.len(), lower), (78, 22));
}

#[test]
fn without_colour_states_are_letters_and_alarms_are_reversed() {
    let mut viewer = viewer(Colors::None, |snapshot| {
        snapshot.cells = vec![Cell::Clean; 4_000];
        snapshot.cells[2_000..].fill(Cell::Dirty);
        snapshot.cells[3_900..].fill(Cell::Free);
        snapshot.audit.drift = 3;
    });
    for pane in ["1", "2", "3", "4", "?"] {
        press(&mut viewer, pane);
        for (width, height) in [(80, 24), (200, 60), (40, 10)] {
            let buffer = render(&viewer, width, height);
            let plain =
                |cell: &ratatui::buffer::Cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset);
            assert!(buffer.content().iter().all(plain), "pane {pane} at {width}x{height}");
        }
    }
    press(&mut viewer, "?1");
    let buffer = render(&viewer, 80, 24);
    assert_shows(&text(&buffer), &["oooooooo", "########", "....", "o clean", "# dirty"]);
    assert!(buffer[find(&buffer, "3 drift")].modifier.contains(Modifier::REVERSED));
}

#[test]
fn the_estimate_follows_the_link() {
    let mut viewer = viewer(Colors::True, |snapshot| {
        snapshot.totals.eligible_bytes = 12_500_000_000;
        snapshot.totals.pool_bytes = 25_000_000_000;
    });
    let at_1g = text(&render(&viewer, 80, 24));
    assert_shows(&at_1g, &["11.6 GiB (50.0 %)", "saves 1 min 40 s of 3 min 20 s", "1 Gbit/s"]);
    press(&mut viewer, "+++");
    let at_10g = text(&render(&viewer, 80, 24));
    assert_shows(&at_10g, &["saves 10.0 s of 20.0 s", "10 Gbit/s"]);
}

#[test]
fn the_filter_line_and_the_help_are_shown() {
    let mut viewer = viewer(Colors::True, |_| {});
    press(&mut viewer, "/shop");
    let screen = text(&render(&viewer, 80, 24));
    assert_shows(&screen, &["filter /shop", "2 of 9 tables with `shop`", "shop/orders"]);
    assert!(!screen.contains("sbtest"), "{screen}");
    viewer.apply(Input::Key(KeyCode::Enter.into()), Instant::now());
    press(&mut viewer, "?");
    assert_shows(
        &text(&render(&viewer, 80, 24)),
        &["Keys", "q  Ctrl-C", "quit", "tracing on or off"],
    );
}

#[test]
fn names_cannot_send_control_characters_to_the_terminal() {
    let mut viewer = viewer(Colors::True, |snapshot| {
        let evil: foreign::Text = foreign::hostile::TEXT.into();
        snapshot.tables[0].name.clone_from(&evil);
        snapshot.server.version.clone_from(&evil);
        snapshot.server.program.clone_from(&evil);
        snapshot.notices.push(evil);
    });
    for pane in ["1", "2", "4"] {
        press(&mut viewer, pane);
        let screen = text(&render(&viewer, 200, 60));
        foreign::hostile::assert_harmless("viewer", screen.as_bytes(), 1 << 20);
    }
}

#[test]
fn a_terminal_that_takes_ascii_gets_ascii() {
    let mut viewer = viewer(Colors::Indexed, |snapshot| {
        snapshot.cells = vec![Cell::Clean; 4_000];
        snapshot.cells[2_000..].fill(Cell::Dirty);
    });
    viewer.palette = Palette::new(Colors::Indexed, foreign::Charset::Ascii);
    for pane in ["1", "2", "3", "4", "?"] {
        press(&mut viewer, pane);
        for (width, height) in [(80, 24), (200, 60), (40, 10)] {
            let screen = text(&render(&viewer, width, height));
            assert!(screen.is_ascii(), "pane {pane} at {width}x{height}: {screen}");
        }
    }
    press(&mut viewer, "?1");
    assert_shows(&text(&render(&viewer, 80, 24)), &["oooooooo", "########", "Pool map --"]);
}
