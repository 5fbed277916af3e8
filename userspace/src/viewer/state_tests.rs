use super::super::made_up::MadeUp;
use super::super::palette::Colors;
use super::super::rows::SortKey;
use super::*;

fn viewer() -> (Viewer, MadeUp, Instant) {
    let mut pool = MadeUp::new(6_000);
    pool.tracing = true;
    let now = Instant::now();
    let options = ViewerOptions {
        link_rate: LinkRate::default(),
        refresh: Duration::from_secs(1),
        tracing: false,
        walking: false,
        charset: foreign::Charset::Utf8,
        colors: Colors::True,
    };
    (Viewer::new(&options, Arc::new(pool.step()), now), pool, now)
}

fn press(viewer: &mut Viewer, code: KeyCode) -> Outcome {
    viewer.apply(Input::Key(code.into()), viewer.now)
}

fn type_text(viewer: &mut Viewer, text: &str) {
    for c in text.chars() {
        assert_eq!(press(viewer, KeyCode::Char(c)), Outcome::Continue, "{c:?} in {text:?}");
    }
}

fn names(viewer: &Viewer) -> Vec<&str> {
    viewer.tables.iter().map(|i| viewer.snapshot.tables[*i].name.raw()).collect()
}

#[test]
fn keys_change_what_they_name() {
    use KeyCode::{BackTab, Char, Enter, Esc, Left, Tab};
    type Check = fn(&Viewer) -> bool;
    let cases: [(&[KeyCode], Check); 17] = [
        (&[Tab], |v| v.pane == Pane::Tables),
        (&[BackTab], |v| v.pane == Pane::Trace),
        (&[Tab, Tab, Left], |v| v.pane == Pane::Tables),
        (&[Char('3')], |v| v.pane == Pane::Probes),
        (&[Char('z')], |v| v.zoomed),
        (&[Enter, Esc], |v| !v.zoomed),
        (&[Char('?')], |v| v.help),
        (&[Char('?'), Esc], |v| !v.help),
        (&[Char('?'), Char('?')], |v| !v.help),
        (&[Char('+')], |v| v.link_rate == "2.5gbit".parse().unwrap()),
        (&[Char('-')], |v| v.link_rate == "500mbit".parse().unwrap()),
        (&[Char('s')], |v| v.sort.key == SortKey::Dirty && !v.sort.reverse),
        (&[Char('S')], |v| v.sort.key == SortKey::Resident && v.sort.reverse),
        (&[Char('p')], |v| v.liveness() == Liveness::Paused),
        (&[Char(' '), Char(' ')], |v| v.liveness() == Liveness::Live),
        (&[Char('/')], |v| v.pane == Pane::Tables && v.filter.editing),
        (&[Char('x')], |v| v.pane == Pane::Pool && !v.help),
    ];
    for (keys, check) in cases {
        let (mut viewer, ..) = viewer();
        for key in keys {
            assert_eq!(press(&mut viewer, *key), Outcome::Continue, "{keys:?}");
        }
        assert!(check(&viewer), "{keys:?}");
    }
}

#[test]
fn keys_that_leave_the_viewer() {
    let ms = Duration::from_millis;
    let cases = [
        ('q', Outcome::Quit),
        ('t', Outcome::Send(Command::Trace(true))),
        ('w', Outcome::Send(Command::Walk(true))),
        ('>', Outcome::Send(Command::Refresh(ms(500)))),
        ('<', Outcome::Send(Command::Refresh(ms(2_000)))),
    ];
    for (key, outcome) in cases {
        assert_eq!(press(&mut viewer().0, KeyCode::Char(key)), outcome, "{key}");
    }
    let (mut viewer, ..) = viewer();
    press(&mut viewer, KeyCode::Char('t'));
    assert_eq!(press(&mut viewer, KeyCode::Char('t')), Outcome::Send(Command::Trace(false)));
    for _ in 0..20 {
        press(&mut viewer, KeyCode::Char('>'));
    }
    assert_eq!(viewer.refresh, ms(100));
    assert_eq!(press(&mut viewer, KeyCode::Char('>')), Outcome::Continue, "no faster than that");
}

#[test]
fn the_filter_takes_letters_that_are_keys_elsewhere() {
    let (mut viewer, ..) = viewer();
    type_text(&mut viewer, "/QORD");
    assert_eq!(names(&viewer), [] as [&str; 0]);
    for _ in 0..4 {
        press(&mut viewer, KeyCode::Backspace);
    }
    type_text(&mut viewer, "order");
    press(&mut viewer, KeyCode::Backspace);
    press(&mut viewer, KeyCode::Home);
    assert_eq!(viewer.filter.text, "orde");
    let mut found = names(&viewer);
    found.sort_unstable();
    assert_eq!(found, ["shop/order_lines", "shop/orders"]);
    press(&mut viewer, KeyCode::Enter);
    assert!(!viewer.filter.editing);
    press(&mut viewer, KeyCode::Esc);
    assert_eq!(names(&viewer).len(), viewer.snapshot.tables.len());
    type_text(&mut viewer, &format!("/{}", "x".repeat(500)));
    assert_eq!(viewer.filter.text.len(), 64);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(viewer.apply(Input::Key(interrupt), viewer.now), Outcome::Quit);
}

#[test]
fn tables_are_sorted_by_each_column_both_ways() {
    let (mut viewer, ..) = viewer();
    for key in [SortKey::Resident, SortKey::Dirty, SortKey::Eligible, SortKey::File] {
        assert_eq!(viewer.sort.key, key);
        let column = |viewer: &Viewer| -> Vec<u64> {
            let rows = viewer.tables.iter().map(|i| &viewer.snapshot.tables[*i]);
            rows.map(|row| match key {
                SortKey::Resident => row.resident_bytes,
                SortKey::Dirty => row.dirty_bytes,
                SortKey::Eligible => row.eligible_bytes,
                _ => row.file_bytes,
            })
            .collect()
        };
        assert!(column(&viewer).is_sorted_by(|a, b| a >= b), "{key:?}");
        press(&mut viewer, KeyCode::Char('S'));
        assert!(column(&viewer).is_sorted(), "{key:?} reversed");
        press(&mut viewer, KeyCode::Char('s'));
    }
    assert!(names(&viewer).is_sorted(), "by name");
}

#[test]
fn scrolling_stays_inside() {
    let (mut viewer, ..) = viewer();
    press(&mut viewer, KeyCode::Char('2'));
    let last = viewer.tables.len() - 1;
    let cases = [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::PageDown, last),
        (KeyCode::Char('k'), last - 1),
        (KeyCode::Char('G'), last),
        (KeyCode::Down, last),
        (KeyCode::Char('g'), 0),
    ];
    for (key, line) in cases {
        press(&mut viewer, key);
        assert_eq!(viewer.cursor(Pane::Tables), line, "{key:?}");
    }
    // fewer lines than before: the mark moves with them
    press(&mut viewer, KeyCode::End);
    let mut fewer = (*viewer.snapshot).clone();
    fewer.tables.truncate(2);
    viewer.apply(Input::Snapshot(Arc::new(fewer)), viewer.now);
    assert_eq!(viewer.cursor(Pane::Tables), 1);
}

#[test]
fn a_paused_display_keeps_still_and_then_shows_the_newest() {
    let (mut viewer, mut pool, now) = viewer();
    let shown = Arc::clone(&viewer.snapshot);
    press(&mut viewer, KeyCode::Char('p'));
    for _ in 0..3 {
        viewer.apply(Input::Snapshot(Arc::new(pool.step())), now);
    }
    assert!(Arc::ptr_eq(&viewer.snapshot, &shown));
    press(&mut viewer, KeyCode::Char('p'));
    assert_eq!(viewer.snapshot.since_attach, Duration::from_secs(4));
}

#[test]
fn an_overdue_snapshot_and_the_end_are_noticed() {
    let (mut viewer, mut pool, now) = viewer();
    viewer.apply(Input::Redraw, now + Duration::from_secs(3));
    assert_eq!(viewer.liveness(), Liveness::Live);
    viewer.apply(Input::Redraw, now + Duration::from_secs(5));
    assert_eq!(viewer.liveness(), Liveness::Late);
    viewer.apply(Input::Snapshot(Arc::new(pool.step())), now + Duration::from_secs(6));
    assert_eq!(viewer.liveness(), Liveness::Live);
    viewer.apply(Input::Ended, now + Duration::from_secs(6));
    assert_eq!(viewer.liveness(), Liveness::Ended);
}
