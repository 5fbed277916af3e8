//! What a module names: its imports, and the paths in its code.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path, a segment each.
pub(super) type Segments = Vec<String>;

/// Names in a module, tests left out.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// What `use` brings in: the name it has here, and the path.
    pub(super) imports: HashMap<String, Segments>,
    /// Modules whose names are all brought in.
    pub(super) globs: Vec<Segments>,
    /// What the module itself defines.
    pub(super) defined: HashSet<String>,
    /// The types and traits of these that are visible beyond the module.
    pub(super) visible_types: Vec<String>,
    /// Paths that the code goes by: those of `use` except re-exports, and those in code of two segments and more.
    pub(super) used: HashSet<Segments>,
}

/// The names of a module's items, those of modules inside it left out.
pub(super) fn of(items: &[syn::Item]) -> Names {
    let mut names = Names::default();
    for item in items {
        names.visit_item(item);
    }
    names
}

/// Whether `#[cfg(test)]` or `#[test]` is among the attributes.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::NameValue(_) => false,
    })
}

/// The name of a struct, enum, union, trait or alias that has a `pub` of any kind.
fn visible_type(item: &syn::Item) -> Option<&syn::Ident> {
    let (visibility, name) = match item {
        syn::Item::Enum(item) => (&item.vis, &item.ident),
        syn::Item::Struct(item) => (&item.vis, &item.ident),
        syn::Item::Trait(item) => (&item.vis, &item.ident),
        syn::Item::Type(item) => (&item.vis, &item.ident),
        syn::Item::Union(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    (!matches!(visibility, syn::Visibility::Inherited)).then_some(name)
}

impl Names {
    fn import(&mut self, item: &syn::ItemUse) {
        let is_export = !matches!(item.vis, syn::Visibility::Inherited);
        let mut left = vec![(Segments::new(), &item.tree)];
        while let Some((mut path, tree)) = left.pop() {
            match tree {
                syn::UseTree::Path(tree_path) => {
                    path.push(tree_path.ident.to_string());
                    left.push((path, &tree_path.tree));
                }
                syn::UseTree::Group(group) => {
                    left.extend(group.items.iter().map(|tree| (path.clone(), tree)))
                }
                syn::UseTree::Glob(_) => self.globs.push(path),
                syn::UseTree::Name(name) => self.named(path, &name.ident, &name.ident, is_export),
                syn::UseTree::Rename(rename) => {
                    self.named(path, &rename.ident, &rename.rename, is_export)
                }
            }
        }
    }

    fn named(
        &mut self,
        mut path: Segments,
        ident: &syn::Ident,
        here: &syn::Ident,
        is_export: bool,
    ) {
        let name = if ident == "self" { path.last().cloned() } else { None };
        if name.is_none() {
            path.push(ident.to_string());
        }
        let here = name.filter(|_| ident == here).unwrap_or_else(|| here.to_string());
        if !is_export {
            self.used.insert(path.clone());
        }
        self.imports.insert(here, path);
    }

    /// Paths in a macro's arguments, which are no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(path);
    }

    fn path(&mut self, path: Segments) {
        if path.len() > 1 {
            self.used.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name): (&[syn::Attribute], Option<&syn::Ident>) = match item {
            syn::Item::Use(item) => {
                return if is_for_tests(&item.attrs) {
                } else {
                    self.import(item)
                };
            }
            // A module has names of its own.
            syn::Item::Mod(_) => return,
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Union(item) => (&item.attrs, Some(&item.ident)),
            _ => (&[], None),
        };
        if !is_for_tests(attributes) {
            self.defined.extend(name.map(ToString::to_string));
            self.visible_types.extend(visible_type(item).map(ToString::to_string));
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
