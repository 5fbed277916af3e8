//! A path that only one developer's machine has breaks everywhere else.

use super::source::{Finding, Source};

/// Folders whose own subfolders differ from machine to machine.
const PRIVATE: &[&str] = &["home", "root", "tmp", "work"];

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if source.is("lock") {
        return Vec::new();
    }
    let private = |(line, text): (usize, &str)| {
        let path = absolute_paths(text).find(|path| is_private(path))?;
        Some(Finding { line, message: format!("`{path}` exists on one machine only") })
    };
    source.lines().filter_map(private).collect()
}

/// What looks like an absolute path: it follows a blank, a quote, a bracket or `=`.
fn absolute_paths(line: &str) -> impl Iterator<Item = &str> {
    let separates = |letter: char| letter.is_whitespace() || "\"'`()<>[]{}=,;:".contains(letter);
    line.split(separates).filter(|word| word.starts_with('/') && !word.starts_with("//"))
}

fn is_private(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let top = parts.next().unwrap_or_default();
    let below = parts.next().unwrap_or_default();
    PRIVATE.contains(&top) && !below.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn only_private_paths_are_found() {
        // Put together, so that the rule does not find its own test.
        let private = ["", "home", "someone", "data"].join("/");
        assert_eq!(find_in(super::find, "a.rs", &format!("let a = \"{private}\";")), [1]);
        assert_eq!(
            find_in(super::find, "a.rs", "/proc/42/maps and/or /usr/bin/x, /tmp // home"),
            [0_usize; 0]
        );
    }
}
