//! Text from outside reaches terminals, logs and messages through the crate `foreign` only.

use std::path::Path;

use super::source::{Finding, Source};

/// Where programs and their libraries lie.
const PROGRAMS: &[&str] = &["qemu-glue", "symbols", "userspace"];

/// What the host's side, the guest's or a peer says: files whose fields are of other people's making.
const MESSAGES: &[&str] = &[
    "qemu-glue/src/channel/message.rs",
    "qemu-glue/src/dest/event.rs",
    "qemu-glue/record/src/report.rs",
    "userspace/wire/src/protocol.rs",
    "userspace/wire/src/protocol/observed.rs",
    "userspace/wire/src/protocol/status.rs",
];

/// Fields of messages that are data, and bounded.
const DATA: &[&str] = &["pub data: String,"];

/// What does not belong into a program, and what does in its place.
const FORBIDDEN: &[(&str, &str)] = &[
    (".display()", "`foreign::path` shows paths; for a machine `to_string_lossy` says what it is"),
    (" println!(", "it panics when the reader is gone, and passes no door"),
    (" eprintln!(", "it panics when the reader is gone, and passes no door"),
    (" eprint!(", "it panics when the reader is gone, and passes no door"),
    ("env_logger::Builder", "`foreign::logger` makes loggers"),
];

/// What does not belong into the programs' own sources besides.
const FORBIDDEN_IN_BIN: &[(&str, &str)] = &[
    ("serde_json::to_writer", "`foreign::json` writes JSON that a terminal may show"),
    ("serde_json::to_string", "`foreign::json_text` writes JSON that a terminal may show"),
];

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if !source.is("rs") || !is_of_a_program(source.path) {
        return Vec::new();
    }
    let is_message = MESSAGES.iter().any(|path| Path::new(path) == source.path);
    let is_bin = source.path.components().any(|part| part.as_os_str() == "bin");
    let own = source.lines().take_while(|(_, text)| text.trim() != "#[cfg(test)]");
    let own = own.filter(|(_, text)| !text.trim_start().starts_with("//"));
    let wrong = |(line, text): (usize, &str)| {
        let all = FORBIDDEN.iter().chain(FORBIDDEN_IN_BIN.iter().filter(|_| is_bin));
        let forbidden = all.into_iter().find(|(what, _)| text.contains(what));
        if let Some((what, why)) = forbidden {
            return Some(Finding { line, message: format!("`{}`: {why}", what.trim()) });
        }
        let field = text.trim_start();
        let is_string = field.starts_with("pub ") && field.contains("String");
        (is_message && is_string && !DATA.contains(&field)).then(|| {
            let message = "a plain string in a message: take `foreign::Text` or `foreign::Name`";
            Finding { line, message: message.to_owned() }
        })
    };
    own.filter_map(wrong).collect()
}

/// Sources that end up in a program, but for the door itself.
fn is_of_a_program(path: &Path) -> bool {
    let inside = |name: &str| path.components().any(|part| part.as_os_str() == name);
    let is_test = path.file_stem().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.ends_with("tests") || name.starts_with("hostile")
    });
    PROGRAMS.iter().any(|program| path.starts_with(program))
        && inside("src")
        && !path.starts_with("userspace/foreign")
        && !path.starts_with("qemu-glue/shim")
        && !inside("tests")
        && !is_test
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn what_passes_no_door_is_found() {
        let text = "// path.display()\nlet a = path.display();\n        eprintln!(\"{a}\");\n#[cfg(test)]\nb.display()\n";
        assert_eq!(find_in(super::find, "userspace/src/a.rs", text), [2, 3]);
        for path in ["userspace/src/tests/a.rs", "userspace/src/a_tests.rs", "tests/src/a.rs"] {
            assert_eq!(find_in(super::find, path, text), [0_usize; 0], "{path}");
        }
        let fields = "pub struct A {\n    pub what: String,\n    pub data: String,\n    pub hint: Option<Text>,\n}\n";
        assert_eq!(find_in(super::find, "userspace/wire/src/protocol.rs", fields), [2]);
        assert_eq!(find_in(super::find, "userspace/src/b.rs", fields), [0_usize; 0]);
    }
}
