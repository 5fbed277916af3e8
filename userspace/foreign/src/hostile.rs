//! What tests drive every sink with, and what they ask of its output.

/// Text that acts on a terminal in all ways: clear, forge lines, link, clipboard, C1, reading order, width.
pub const TEXT: &str = "evil\u{1b}[2J\u{1b}]8;;http://x/\u{1b}\\link\u{1b}]52;c;aGk=\u{7}\r\nok    forged\n\
    ready on 192.0.2.1:4445\u{8}\u{7f}\u{85}\u{9b}31m\u{9d}0;t\u{9c}\u{202e}\u{2066}\u{200e}\u{61c}\u{200b}\u{2028}\
    \u{2029}\u{feff}\u{e0041}\u{fffe}\tend";

/// [`TEXT`] with bytes that are no UTF-8; none of them is `/` or NUL, so that it can name a file where it
/// has no slash.
#[must_use]
pub fn bytes() -> Vec<u8> {
    let mut bytes = TEXT.as_bytes().to_vec();
    bytes.extend([0xff, 0xc0, 0x80, 0x9b, b'2', b'J', 0xe2, 0x82]);
    bytes
}

/// [`TEXT`] as a file name: without `/`, and of no more than 255 bytes.
#[must_use]
pub fn file_name() -> Vec<u8> {
    let mut name: Vec<u8> = bytes().into_iter().filter(|byte| *byte != b'/').collect();
    name.truncate(255);
    name
}

/// [`TEXT`], and 1 MiB behind it.
#[must_use]
pub fn big() -> String {
    format!("{TEXT}{}", "x".repeat(1 << 20))
}

/// What makes `output` harmful; `None` where nothing does.
///
/// It must be UTF-8 without any control but ends of lines and `own` ones, without format characters, without a
/// line that [`TEXT`] forges, and of at most `limit` bytes.
#[must_use]
pub fn harm(output: &[u8], own: &[char], limit: usize) -> Option<String> {
    if output.len() > limit {
        return Some(format!("{} bytes, more than {limit}", output.len()));
    }
    let Ok(text) = std::str::from_utf8(output) else { return Some("no UTF-8".to_owned()) };
    let acts = |letter: &char| {
        letter.is_control() || !letter.is_ascii() && TEXT.contains(*letter) || *letter == '\u{fffd}'
    };
    if let Some(letter) = text.chars().find(|c| acts(c) && *c != '\n' && !own.contains(c)) {
        return Some(format!("{letter:?} in {text:?}"));
    }
    let forged =
        |line: &&str| line.starts_with("ok    forged") || line.starts_with("ready on 192.0.2.1");
    text.lines().find(forged).map(|line| format!("a forged line {line:?} in {text:?}"))
}

/// Panics where `output` does harm ([`harm`]), or does not show the fixture at all.
#[track_caller]
pub fn assert_harmless(sink: &str, output: &[u8], limit: usize) {
    if let Some(harm) = harm(output, &[], limit) {
        panic!("{sink}: {harm}");
    }
    assert!(
        output.windows(4).any(|piece| piece == b"evil"),
        "{sink} does not show it: {}",
        crate::bytes(output)
    );
}
