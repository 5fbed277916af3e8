//! A crate as a tree of modules, each with its file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use test_servers::command;

use super::names::{self, Names};

/// A module: a file of its own, or a block inside of one.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) parent: Option<usize>,
    /// By name, as indices.
    pub(super) children: HashMap<String, usize>,
    pub(super) names: Names,
}

/// The file that each crate starts with, tests not among them.
pub(super) fn roots(top: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let list = command::output(git.current_dir(top))?;
    let is_root = |name: &&str| {
        let parts: Vec<&str> = name.rsplit('/').collect();
        matches!(
            parts[..],
            ["lib.rs" | "main.rs", "src", ..]
                | [_, "bin", "src", ..]
                | ["main.rs", _, "bin", "src", ..]
        )
    };
    let files = list.split_terminator('\0').filter(is_root).map(|name| top.join(name));
    Ok(files.filter(|file| file.exists()).collect())
}

/// All modules of the crate that starts with `root`, which is the first.
///
/// # Errors
/// A module whose file cannot be read, or is no Rust.
pub(super) fn load(root: &Path) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    let folder = root.parent().unwrap_or(root);
    from_file(root, folder, None, &mut modules)?;
    Ok(modules)
}

fn from_file(
    file: &Path,
    folder: &Path,
    parent: Option<usize>,
    modules: &mut Vec<Module>,
) -> Result<usize> {
    let text =
        fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let parsed =
        syn::parse_file(&text).with_context(|| format!("{} is no Rust", file.display()))?;
    from_items(&parsed.items, file, folder, parent, modules)
}

/// A module of these items; files of its children are in `folder`.
fn from_items(
    items: &[syn::Item],
    file: &Path,
    folder: &Path,
    parent: Option<usize>,
    modules: &mut Vec<Module>,
) -> Result<usize> {
    let own = modules.len();
    modules.push(Module {
        file: file.into(),
        parent,
        children: HashMap::new(),
        names: names::of(items),
    });
    for item in items {
        let syn::Item::Mod(child) = item else { continue };
        if names::is_for_tests(&child.attrs) {
            continue;
        }
        let name = child.ident.to_string();
        let inside = folder.join(&name);
        let index = match &child.content {
            Some((_, items)) => from_items(items, file, &inside, Some(own), modules)?,
            None => from_file(&file_of(child, file, folder), &inside, Some(own), modules)?,
        };
        modules[own].children.insert(name, index);
    }
    Ok(own)
}

/// Where a module without a block stands: what `#[path]` says, `NAME.rs` or `NAME/mod.rs`.
fn file_of(child: &syn::ItemMod, file: &Path, folder: &Path) -> PathBuf {
    let stated = child.attrs.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(meta) if meta.path.is_ident("path") => match &meta.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    });
    if let Some(path) = stated {
        return file.with_file_name(path);
    }
    let flat = folder.join(format!("{}.rs", child.ident));
    if flat.exists() { flat } else { folder.join(child.ident.to_string()).join("mod.rs") }
}
