//! One term for one thing: words that the project once had of its own, where the field has another.

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
    source.lines().filter_map(retired).collect()
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
}
