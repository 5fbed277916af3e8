//! One term for one thing: words that the project once had of its own, where the field has another.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

use super::source::{Finding, Source};

/// The word, and what to say for it.
const RETIRED: &[(&str, &str)] = &[
    ("chase", "convergence"),
    ("ferried", "migrated"),
    ("ferry", "migration, or session"),
    ("ferrying", "migrating"),
    ("media", "devices"),
    ("medium", "device"),
    ("meddle", "inject a fault"),
    ("meddling", "injecting a fault"),
    ("picture", "snapshot"),
    ("pictures", "snapshots"),
    ("remark", "warning"),
    ("remarks", "warnings"),
    ("scene", "fixture"),
    ("tallies", "counters"),
    ("tally", "counters"),
    ("trickle", "throttle"),
    ("trickling", "throttling"),
];

/// Words that no function, type or variable is called by, and what to call it.
const RETIRED_IN_NAMES: &[(&str, &str)] = &[
    ("ask", "request, or query"),
    ("asked", "requested, or queried"),
    ("asking", "requesting, or queries"),
    ("asks", "requests"),
    ("hear", "receive"),
    ("heard", "received"),
    ("hearing", "receiving"),
    ("hears", "receives"),
    ("said", "output, text, or reply"),
    ("say", "write, send, or log"),
    ("saying", "writing, or sending"),
    ("says", "writes, or sends"),
    ("tell", "send, report, or notify"),
    ("teller", "what it is that reports"),
    ("telling", "sending, or reporting"),
    ("tells", "sends, or reports"),
    ("told", "reported, or reply"),
];

/// Names of more words are those of tests, which are sentences.
const MOST_WORDS: usize = 3;

/// Files that speak of what was (keys of older records too), the one with the library's magic number, and this one.
const EXEMPT: [&str; 6] = [
    "CHANGELOG.md",
    "docs/report.md",
    "qemu-glue/record/src/files.rs",
    "qemu-glue/record/src/report.rs",
    "qemu-glue/shim-abi/src/lib.rs",
    "xtask/src/house/words.rs",
];

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    let exempt = EXEMPT.iter().any(|file| source.path.ends_with(file));
    if exempt || !(source.is("rs") || source.is("md")) {
        return Vec::new();
    }
    let retired = |(line, text): (usize, &str)| {
        let (word, instead) = words(text).find_map(|word| {
            RETIRED.iter().find(|(retired, _)| word.eq_ignore_ascii_case(retired))
        })?;
        Some(Finding { line, message: format!("`{word}` is called {instead}") })
    };
    let mut findings: Vec<Finding> = source.lines().filter_map(retired).collect();
    if source.is("rs") {
        findings.extend(names(source));
    }
    findings
}

/// Names of Rust that have a word of [`RETIRED_IN_NAMES`].
fn names(source: &Source<'_>) -> Vec<Finding> {
    let mut names = BTreeSet::new();
    // What does not parse does not build either.
    collect(source.text.parse().unwrap_or_default(), &mut names);
    let found = |(line, text): (usize, &str)| {
        let code = text.split("//").next().unwrap_or_default();
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let name = code.split(|letter| !is_part(letter)).find(|name| names.contains(*name))?;
        let (_, instead) = retired_in(name)?;
        Some(Finding { line, message: format!("`{name}`: the field's word is {instead}") })
    };
    source.lines().filter_map(found).collect()
}

fn collect(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), names),
            TokenTree::Ident(name) => {
                let name = name.to_string();
                if retired_in(&name).is_some() {
                    names.insert(name);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn retired_in(name: &str) -> Option<&'static (&'static str, &'static str)> {
    let words: Vec<&str> = words(name).filter(|word| !word.is_empty()).collect();
    if words.len() > MOST_WORDS {
        return None;
    }
    let is_in = |word: &str| words.iter().any(|own| own.eq_ignore_ascii_case(word));
    RETIRED_IN_NAMES.iter().find(|(word, _)| is_in(word))
}

/// The words of a line, those inside of names too: `give_up`, `GiveUp`, `GIVE_UP`.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !letter.is_ascii_alphabetic()).flat_map(|run| {
        let capitals = run.chars().all(|letter| letter.is_ascii_uppercase());
        let is_hump = |letter: char| letter.is_ascii_uppercase() && !capitals;
        let humps = run.char_indices().skip(1).filter(|(_, letter)| is_hump(*letter));
        let ends: Vec<usize> = humps.map(|(at, _)| at).chain([run.len()]).collect();
        ends.into_iter().scan(0, |start, end| Some(&run[std::mem::replace(start, end)..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn retired_words_are_found_inside_of_names() {
        let text = "use a;\nlet picture = 1;\nfn of_pictures() {}\nenum E { LastPicture }\n\
                    // Poolferry is no word of it; nor is a chaser.\nstruct Ferry;\nconst PICTURE_AGE: u8 = 1;\n";
        assert_eq!(find_in(super::find, "userspace/src/a.rs", text), [2, 3, 4, 6, 7]);
        for elsewhere in ["CHANGELOG.md", "a.toml"] {
            assert_eq!(find_in(super::find, elsewhere, text), [0_usize; 0], "{elsewhere}");
        }
    }

    #[test]
    fn retired_names_are_found_and_prose_is_not() {
        let text = "//! It is told.\nfn tell() {}\nlet a = \"told\"; // heard\nstruct DiskTeller;\n\
                    const ASK: u8 = 1;\nfn nobody_is_told_of_it() {}\nlet untold = task;\n\
                    log!(\"{said}\", said);\n";
        assert_eq!(find_in(super::find, "userspace/src/a.rs", text), [2, 4, 5, 8]);
        assert_eq!(find_in(super::find, "docs/a.md", text), [0_usize; 0]);
    }
}
