//! A file that has grown long holds more than one noun.

use super::source::{Finding, Source};

/// Lines that a source file may have.
const LIMIT: usize = 600;

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if !source.is("rs") || lines <= LIMIT {
        return Vec::new();
    }
    vec![Finding {
        line: LIMIT + 1,
        message: format!("{lines} lines; split it by noun (at most {LIMIT})"),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn only_long_sources_are_found() {
        assert_eq!(find_in(super::find, "a.rs", &"\n".repeat(600)), [0_usize; 0]);
        assert_eq!(find_in(super::find, "a.rs", &"\n".repeat(601)), [601]);
        assert_eq!(find_in(super::find, "a.lock", &"\n".repeat(601)), [0_usize; 0]);
    }
}
