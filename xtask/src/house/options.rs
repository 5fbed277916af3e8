//! Documentation that names an option which no program has misleads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use super::source::{Finding, Source};
use crate::workspace;

/// Where the options of our programs are declared.
const PROGRAMS: [&str; 3] =
    ["userspace/src/bin/poolferry", "qemu-glue/src/bin/poolferry-host", "tests/lab/src"];
/// Options of other programs that the documentation names, and those that clap adds.
const OTHERS: [&str; 5] = ["bind", "cap-add", "enable-plugins", "help", "version"];

static DECLARED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let files =
        PROGRAMS.iter().filter_map(|folder| fs::read_dir(workspace::root().join(folder)).ok());
    let files = files.flatten().flatten().map(|entry| entry.path());
    files.flat_map(|path| declared(&fs::read_to_string(path).unwrap_or_default())).collect()
});

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    // What changed once names what was there then.
    if !source.is("md") || source.path == Path::new("CHANGELOG.md") {
        return Vec::new();
    }
    let mut known = DECLARED.clone();
    known.extend(OTHERS.map(str::to_owned));
    of_commands(source.commands, &mut known);
    let unknown = |(line, text)| {
        let name = named(text).find(|name| !known.contains(*name))?;
        Some(Finding { line, message: format!("no program has the option `--{name}`") })
    };
    source.lines().filter_map(unknown).collect()
}

/// Names of the options that a text has: two hyphens after anything but a letter, a digit or a hyphen, then a small letter.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    text.match_indices("--").filter_map(move |(at, _)| {
        let begins = !text[..at].ends_with(is_part);
        let rest = &text[at + 2..];
        let name = &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
        (begins && name.starts_with(|letter: char| letter.is_ascii_lowercase())).then_some(name)
    })
}

fn of_commands(command: &clap::Command, known: &mut BTreeSet<String>) {
    known.extend(
        command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned),
    );
    command.get_subcommands().for_each(|command| of_commands(command, known));
}

/// Names of the options that a source file declares: fields below `#[arg(... long ...)]`.
fn declared(text: &str) -> Vec<String> {
    let long = |part: &str| {
        let attribute = part.split(")]\n").next()?;
        let words = attribute.split([',', '\n']).map(str::trim);
        let word = words.into_iter().find(|word| *word == "long" || word.starts_with("long = "))?;
        if let Some(name) = word.strip_prefix("long = ") {
            return Some(name.trim_matches('"').to_owned());
        }
        let is_field = |line: &&str| !line.is_empty() && !line.starts_with(['#', '/']);
        let field = part.split_once(")]\n")?.1.lines().map(str::trim).find(is_field)?;
        let name = field.split(':').next()?.rsplit(' ').next()?;
        Some(name.replace('_', "-"))
    };
    text.split("#[arg(").skip(1).filter_map(long).collect()
}

#[cfg(test)]
mod tests {
    use super::super::find_in;
    use super::*;

    #[test]
    fn options_of_no_program_are_found() {
        let text =
            "Give `--profiles DIR`.\nGive `--profile-dir DIR`.\na -- b, a--b, |---|\n`--bind`\n";
        assert_eq!(find_in(find, "SECURITY.md", text), [2]);
        assert_eq!(find_in(find, "CHANGELOG.md", text), [0_usize; 0]);
    }

    #[test]
    fn options_are_declared_below_their_attribute() {
        let text = "#[arg(long, short, value_name = \"DIR\",\n  x = y(4..))]\n    /// Doc.\n    pub(crate) debug_dir: u8,\n\
                    #[arg(long = \"other\")]\n  field: u8,\n#[arg(value_name = \"long\")]\n  no: u8,\n";
        assert_eq!(declared(text), ["debug-dir", "other"]);
    }
}
