//! ARCHITECTURE.md names files and, in its diagrams, modules: all of them must be there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use super::source::{Finding, Source};
use crate::workspace;

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if source.path != Path::new("ARCHITECTURE.md") {
        return Vec::new();
    }
    let (mut found, mut in_diagram, mut folder) = (Vec::new(), false, String::new());
    for (line, text) in source.lines() {
        if text.is_empty() {
            folder.clear();
        } else if text.starts_with("```") {
            in_diagram = text == "```text";
        } else if in_diagram {
            let unknown = modules(text).filter(|name| !is_module(name));
            found.extend(unknown.map(|name| Finding {
                line,
                message: format!("no module `{name}`, which the diagram has"),
            }));
        } else {
            let missing = paths(text, &mut folder).into_iter().filter(|path| !exists(path));
            found.extend(
                missing.map(|path| Finding { line, message: format!("`{path}` does not exist") }),
            );
        }
    }
    found
}

/// What a diagram has before a colon: `plan: the skip set`.
fn modules(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.match_indices(": ").map(|(end, _)| end);
    let names = ends.map(|end| text[..end].rsplit([' ', '(', '>']).next().unwrap_or_default());
    names.filter(|name| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    })
}

/// Paths between backquotes, `a/{b,c}.rs` as two. A name without a folder is of the one that the paragraph
/// named last.
fn paths(text: &str, folder: &mut String) -> Vec<String> {
    let mut paths = Vec::new();
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = word.ends_with(".rs") || word.ends_with('/') || word.ends_with(".toml");
        let plain = word.chars().all(|letter| !letter.is_whitespace() && letter != '*');
        if !is_path || !plain {
            continue;
        }
        let whole = if exists(&top(word)) { word.to_owned() } else { format!("{folder}{word}") };
        if let Some((of, _)) = whole.trim_end_matches('/').rsplit_once('/') {
            *folder = format!("{of}/");
        }
        paths.extend(alternatives(&whole));
    }
    paths
}

/// The first folder of a path.
fn top(path: &str) -> String {
    path.split_once('/').map_or_else(|| path.to_owned(), |(top, _)| top.to_owned())
}

/// `a/{b,c}.rs`: `a/b.rs`, `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    let inside = path.split_once('{').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('}')?;
        Some(inside.split(',').map(|name| format!("{before}{name}{after}")).collect())
    });
    inside.unwrap_or_else(|| vec![path.to_owned()])
}

/// Paths within a crate's sources are named without them where the line before has the crate.
fn exists(path: &str) -> bool {
    let roots = ["", "qemu-glue/src/", "userspace/src/"];
    roots.iter().any(|root| workspace::root().join(root).join(path).exists())
}

/// Whether some crate has a module or folder of this name.
fn is_module(name: &str) -> bool {
    static MODULES: OnceLock<BTreeSet<String>> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let mut modules = BTreeSet::new();
        for folder in ["symbols", "userspace", "qemu-glue", "ebpf-probes"] {
            collect(&workspace::root().join(folder), &mut modules);
        }
        modules
    });
    modules.contains(name)
}

fn collect(folder: &Path, modules: &mut BTreeSet<String>) {
    modules.extend(folder.file_name().map(|name| name.to_string_lossy().into_owned()));
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            modules.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn missing_files_and_modules_are_found() {
        let text = "`xtask/src/main.rs`, `ebpf.rs`, `xtask/src/house/`, `an argument/`\n\
                    `xtask/src/{main,gone}.rs`\n`gone/`\n```text\n x ──> plan: the set\n nowhere: what\n```\n\
                    nowhere: what\n`xtask/src/main.rs` and `gone.rs`\n";
        assert_eq!(find_in(super::find, "ARCHITECTURE.md", text), [2, 3, 6, 9]);
        assert_eq!(find_in(super::find, "README.md", text), [0_usize; 0]);
    }
}
