//! From a path to the file that has what it names.

use super::tree::Module;

/// Re-exports that are followed from one to the next.
const MOST_DOORS: usize = 16;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A module as a whole.
    Module(usize),
    /// Something that a module defines.
    Item(usize),
}

/// What `path` in module `from` names; `None` where that is in another crate.
pub(super) fn resolve(modules: &[Module], from: usize, path: &[String]) -> Option<Target> {
    follow(modules, from, path, MOST_DOORS)
}

fn follow(modules: &[Module], from: usize, path: &[String], doors: usize) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => walk(modules, 0, rest, doors),
        "self" => walk(modules, from, rest, doors),
        "super" => {
            let mut module = modules[from].parent?;
            let mut rest = rest;
            while let Some(("super", further)) =
                rest.split_first().map(|(name, rest)| (name.as_str(), rest))
            {
                module = modules[module].parent?;
                rest = further;
            }
            walk(modules, module, rest, doors)
        }
        name => {
            let module = &modules[from];
            if module.children.contains_key(name) || module.imports(path).is_some() {
                walk(modules, from, path, doors)
            } else {
                through_globs(modules, from, path, doors)
            }
        }
    }
}

/// What `path` names by way of `use ...::*` in `module`.
fn through_globs(
    modules: &[Module],
    module: usize,
    path: &[String],
    doors: usize,
) -> Option<Target> {
    let name = path.first()?;
    modules[module].names.globs.iter().find_map(|glob| {
        let doors = doors.checked_sub(1)?;
        let Target::Module(inside) = follow(modules, module, glob, doors)? else { return None };
        let own = &modules[inside];
        let known = own.names.defined.contains(name) || own.imports(path).is_some();
        if known { walk(modules, inside, path, doors) } else { None }
    })
}

/// What `path` names, seen from inside of `module`.
fn walk(modules: &[Module], module: usize, path: &[String], doors: usize) -> Option<Target> {
    let Some((name, rest)) = path.split_first() else { return Some(Target::Module(module)) };
    let own = &modules[module];
    if let Some(child) = own.children.get(name) {
        return walk(modules, *child, rest, doors);
    }
    if own.names.defined.contains(name) || doors == 0 {
        return Some(Target::Item(module));
    }
    if let Some(imported) = own.imports(path) {
        // `use name::...` of a crate of that name leads out.
        let leads_back = imported.first() == Some(name) && imported.len() == path.len();
        return if leads_back { None } else { follow(modules, module, &imported, doors - 1) };
    }
    through_globs(modules, module, path, doors).or(Some(Target::Item(module)))
}

impl Module {
    /// The path behind the import that `path` begins with, with what follows.
    fn imports(&self, path: &[String]) -> Option<Vec<String>> {
        let (name, rest) = path.split_first()?;
        let imported = self.names.imports.get(name)?;
        Some(imported.iter().chain(rest).cloned().collect())
    }
}
