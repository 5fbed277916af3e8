//! Who imports whom among the files of each crate, and what must not be: a circle, or an import that looks up.
//!
//! ```text
//! crate roots -> tree (files as modules) -> names (paths of each file) -> graph (file -> file) -> circles, layers
//! ```
//!
//! A re-export (`pub use child::Name`) is a door and no import: whoever comes through it imports the file behind it.
//! Tests import what they like. Only paths are followed, so a method that is called on a value ties nothing.

mod graph;
mod names;
mod resolve;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace;

/// Modules of a crate that must not import others: the folder, who, and whom not.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    (
        "qemu-glue",
        &[
            "agent", "channel", "clash", "guest", "multifd", "qmp", "set", "shim", "storage",
            "timeline",
        ],
        &["dest", "doctor", "source"],
    ),
    ("qemu-glue", &["dest"], &["source"]),
    ("qemu-glue", &["source"], &["dest"]),
    // Files to disks: whose files they are is known above.
    (
        "userspace",
        &["on_disk"],
        &[
            "classify",
            "field_layout",
            "pool_map",
            "locate",
            "page_list",
            "residency",
            "scan",
            "server",
        ],
    ),
    (
        "userspace",
        &["frames", "locate", "on_disk", "probes", "target"],
        &["agent", "observer", "page_list", "viewer"],
    ),
    ("userspace", &["observer", "page_list"], &["agent", "viewer"]),
];

/// Files and folders whose files still import each other in a circle: an entry leaves when it is taken apart.
const STILL_IN_CIRCLES: &[&str] = &[];

/// Looks at every crate of the project.
///
/// # Errors
/// A file that is no Rust; the circles and the imports that look up, each with the names that tie it.
pub(crate) fn check() -> Result<()> {
    let mut found = String::new();
    for root in tree::roots(workspace::root())? {
        // What only tests use.
        if root.starts_with(workspace::root().join("tests")) {
            continue;
        }
        let modules = tree::load(&root)?;
        let graph = graph::of(&modules);
        let known = |file: &Path| {
            STILL_IN_CIRCLES.iter().any(|folder| file.starts_with(workspace::root().join(folder)))
        };
        for circle in graph.circles(known) {
            found.push_str(&format!("\n  files import each other in a circle:{circle}"));
        }
        let layers =
            LAYERS.iter().filter(|layer| root.starts_with(workspace::root().join(layer.0)));
        for (folder, low, high) in layers {
            let src = workspace::root().join(folder).join("src");
            for import in
                graph.between(|file| is_in(file, &src, low), |file| is_in(file, &src, high))
            {
                found.push_str(&format!("\n  an import looks up: {import}"));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { bail!("{found}") }
}

/// Types and traits that are visible beyond their module, with the file of each: of all crates, tests left out.
///
/// # Errors
/// A file that is no Rust.
pub(crate) fn visible_types(top: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut types = Vec::new();
    for root in tree::roots(top)? {
        for module in tree::load(&root)? {
            let file = module.file.strip_prefix(top).unwrap_or(&module.file).to_owned();
            types.extend(module.names.visible_types.into_iter().map(|name| (name, file.clone())));
        }
    }
    Ok(types)
}

/// Whether `file` is one of the modules, or inside of one.
fn is_in(file: &Path, src: &Path, modules: &[&str]) -> bool {
    let Ok(inside) = file.strip_prefix(src) else { return false };
    let top = inside.components().next().and_then(|part| part.as_os_str().to_str());
    top.is_some_and(|top| modules.contains(&top.trim_end_matches(".rs")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{check, graph, tree};

    /// A crate of these files; each circle that is found in it.
    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = tree::load(&folder.path().join("lib.rs")).unwrap();
        graph::of(&modules).circles(|_| false)
    }

    #[test]
    fn a_circle_is_found_through_doors_globs_and_macros() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::A;");
        let a = ("a.rs", "use crate::b; pub struct A; fn f() { println!(\"{}\", b::N); }");
        for b in [
            "use crate::A; pub const N: u8 = 0;",
            "use super::*; pub const N: u8 = size(A::new());",
            "pub const N: u8 = 0; mod inside { fn f() -> crate::a::A { crate::a::A } }",
        ] {
            let [circle] = &circles(&[lib, a, ("b.rs", b)])[..] else { panic!("{b}") };
            assert!(
                circle.contains("a.rs takes N from ") && circle.contains("b.rs takes A from "),
                "{circle}"
            );
        }
    }

    #[test]
    fn doors_and_tests_make_no_circle() {
        let lib = ("lib.rs", "mod a; pub use a::inner::Inner; #[cfg(test)] mod tests;");
        let a = (
            "a/mod.rs",
            "pub mod inner; #[cfg(test)] mod tests { use super::inner::Inner; } pub struct A;",
        );
        let inner = ("a/inner.rs", "use super::A; pub struct Inner(A, std::time::Instant);");
        assert_eq!(circles(&[lib, a, inner]), Vec::<String>::new());
    }

    #[test]
    fn the_project_has_none() {
        check().unwrap();
    }
}
