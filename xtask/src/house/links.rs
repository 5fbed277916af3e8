//! A link within the repository must lead somewhere.

use std::path::Path;

use super::source::{Finding, Source};
use crate::workspace;

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if !source.is("md") {
        return Vec::new();
    }
    let folder = workspace::root().join(source.path.parent().unwrap_or(Path::new("")));
    let broken = |(line, text): (usize, &str)| {
        let target = targets(text).find(|target| !folder.join(target).exists())?;
        Some(Finding { line, message: format!("`{target}` does not exist") })
    };
    source.lines().filter_map(broken).collect()
}

/// The files that the links `[text](file#part)` of a line lead to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inside = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let own = inside.filter(|target| !target.contains("://") && !target.starts_with('#'));
    own.filter_map(|target| target.split('#').next())
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn only_broken_links_are_found() {
        let text = "[a](Cargo.toml), [b](xtask/src/main.rs#top)\n[c](gone.md)\n[d](https://docs.rs) [e](#f)\n";
        assert_eq!(find_in(super::find, "README.md", text), [2]);
        assert_eq!(find_in(super::find, "symbols/README.md", "[a](../Cargo.toml)"), [0_usize; 0]);
    }
}
