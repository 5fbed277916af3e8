//! A document that names a test, as `FILE.rs::NAME`, stands on that test: it must be there.

use std::fs;

use super::source::{Finding, Source};
use crate::workspace;

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if !source.is("md") {
        return Vec::new();
    }
    let missing = |(line, text): (usize, &str)| {
        let named = tests(text).find(|(file, name)| !holds(file, name))?;
        Some(Finding { line, message: format!("`{}` has no test `{}`", named.0, named.1) })
    };
    source.lines().filter_map(missing).collect()
}

/// What stands between backquotes and has the form of a test's name.
fn tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|word| {
        let (file, name) = word.split_once("::")?;
        let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        (file.ends_with(".rs") && is_name).then_some((file, name))
    })
}

fn holds(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(workspace::root().join(file)).unwrap_or_default();
    let definition = format!("fn {name}(");
    let mut above: [&str; 3] = [""; 3];
    for line in text.lines() {
        // `#[test]`, or one of a runtime's, a few lines above, behind which others may stand.
        if line.contains(&definition) && above.iter().any(|line| line.contains("test")) {
            return true;
        }
        above = [above[1], above[2], line];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn only_missing_tests_are_found() {
        let own = "xtask/src/house/named_tests.rs";
        let text = format!(
            "`{own}::only_missing_tests_are_found`, `a::b`\n`{own}::holds`\n`gone.rs::a`\n`x.rs`"
        );
        assert_eq!(find_in(super::find, "SECURITY.md", &text), [2, 3]);
        assert_eq!(find_in(super::find, "a.rs", &text), [0_usize; 0]);
    }
}
