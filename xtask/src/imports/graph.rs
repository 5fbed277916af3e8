//! Files of a crate, and what each takes from others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::resolve::{Target, resolve};
use super::tree::Module;
use crate::workspace;

/// Names that one file takes from another, by both.
#[derive(Debug, Default)]
pub(super) struct Graph<'a>(BTreeMap<(&'a Path, &'a Path), BTreeSet<&'a str>>);

/// The graph of a crate's modules.
pub(super) fn of(modules: &[Module]) -> Graph<'_> {
    let mut graph = Graph::default();
    for (index, module) in modules.iter().enumerate() {
        for path in &module.names.used {
            let Some(Target::Item(target)) = resolve(modules, index, path) else { continue };
            let target = modules[target].file.as_path();
            if target != module.file {
                let names = graph.0.entry((&module.file, target)).or_default();
                // A type or constant rather than what is its own: `A` of `a::A::new`.
                let of_type = path.iter().find(|name| name.starts_with(char::is_uppercase));
                names.extend(of_type.or(path.last()).map(String::as_str));
            }
        }
    }
    graph
}

impl Graph<'_> {
    /// Files that import each other, a text each: who takes what from whom; those all of whose files are `known` are
    /// left out.
    pub(super) fn circles(&self, known: impl Fn(&Path) -> bool) -> Vec<String> {
        let graph: DiGraphMap<&Path, ()> =
            self.0.keys().map(|(from, to)| (*from, *to, ())).collect();
        let mut circles = tarjan_scc(&graph);
        circles.retain(|files| files.len() > 1 && !files.iter().all(|file| known(file)));
        let text = |files: &Vec<&Path>| {
            let lines = self.between(|file| files.contains(&file), |file| files.contains(&file));
            lines.map(|line| format!("\n    {line}")).collect()
        };
        circles.iter().map(text).collect()
    }

    /// Imports from the ones by the others.
    pub(super) fn between(
        &self,
        from: impl Fn(&Path) -> bool,
        to: impl Fn(&Path) -> bool,
    ) -> impl Iterator<Item = String> {
        let inside = self.0.iter().filter(move |((by, of), _)| from(by) && to(of));
        inside.map(|((by, of), names)| {
            let names: Vec<&str> = names.iter().copied().collect();
            format!("{} takes {} from {}", shown(by), names.join(", "), shown(of))
        })
    }
}

fn shown(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(workspace::root()).unwrap_or(file).display()
}
