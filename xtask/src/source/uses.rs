//! The paths by which one module of a crate uses another: `use` declarations in all their forms,
//! paths in expressions, types and patterns, and paths among the tokens of macros.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use super::tree::{SourceFile, is_test_only, line_of, name_of, split_at_commas};

/// One use: the module that it is in and the path that it names, both from the crate root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) line: usize,
}

/// A name that a module's file brings in with `use`, and the path that it stands for; an empty
/// path if it comes from another crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) to: Vec<String>,
}

/// All uses in a file that name a path within the crate, test code left out. Paths that begin with
/// a name that the file imports are not followed: the import is a use already.
pub(super) fn of_file(file: &SourceFile) -> Vec<Use> {
    let mut finder = Finder { module: file.module.clone(), uses: Vec::new() };
    finder.visit_file(&file.syntax);
    finder.uses
}

/// The names that the top level of a file brings in: `pub use start::main` makes `crate::main`
/// stand for `crate::start::main`. `is_child` tells a child module from another crate.
pub(super) fn aliases(file: &SourceFile, is_child: impl Fn(&str) -> bool) -> Vec<Alias> {
    let mut aliases = Vec::new();
    for item in &file.syntax.items {
        let Item::Use(item) = item else { continue };
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for (path, name) in paths {
            let first = path.first().map(String::as_str).unwrap_or_default();
            let child = is_child(first).then(|| [&file.module[..], &path].concat());
            let to = child.or_else(|| absolute(&file.module, &path)).unwrap_or_default();
            aliases.push(Alias { name, to });
        }
    }
    aliases
}

/// The names of the macros that a file exports; `#[macro_export]` puts them into the crate root.
pub(super) fn exported_macros(file: &SourceFile) -> Vec<String> {
    let exported = |item: &Item| match item {
        Item::Macro(item) if item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) => {
            item.ident.as_ref().map(name_of)
        }
        _ => None,
    };
    file.syntax.items.iter().filter_map(exported).collect()
}

/// The path from the crate root that `path` means in `module`; nothing if it does not begin with
/// `crate`, `self` or `super`.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "super" => {
                base.pop()?;
            }
            "crate" | "self" => {}
            _ => break,
        }
        rest = after;
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// The paths of a `use` tree, each with the name that it gets.
fn flatten(tree: &UseTree, prefix: &mut Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(name_of(&path.ident));
            flatten(&path.tree, prefix, paths);
            prefix.pop();
        }
        UseTree::Name(name) => {
            let name = name_of(&name.ident);
            paths.push(ended(prefix, &name, prefix.last().filter(|_| name == "self").unwrap_or(&name).clone()));
        }
        UseTree::Rename(rename) => {
            paths.push(ended(prefix, &name_of(&rename.ident), name_of(&rename.rename)));
        }
        UseTree::Glob(_) => paths.push((prefix.clone(), "*".into())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, paths)),
    }
}

/// `prefix::last`, where a last `self` stands for the prefix.
fn ended(prefix: &[String], last: &str, name: String) -> (Vec<String>, String) {
    let mut path = prefix.to_vec();
    if last != "self" || path.is_empty() {
        path.push(last.to_owned());
    }
    (path, name)
}

struct Finder {
    module: Vec<String>,
    uses: Vec<Use>,
}

impl Finder {
    fn add(&mut self, path: &[String], line: usize) {
        if let Some(to) = absolute(&self.module, path)
            && !to.is_empty()
        {
            self.uses.push(Use { from: self.module.clone(), to, line });
        }
    }

    /// Finds paths among tokens, such as those of a macro invocation.
    fn scan(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.scan(&group.stream()),
                TokenTree::Ident(first) if ["crate", "self", "super"].iter().any(|name| first == name) => {
                    let line = first.span().start().line;
                    let (path, group, length) = path_at(&tokens[at - 1..]);
                    at += length - 1;
                    match group {
                        Some(group) => self.add_group(&path, &group, line),
                        None if path.len() > 1 => self.add(&path, line),
                        None => {}
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds `prefix::{…}` of a `use` among tokens.
    fn add_group(&mut self, prefix: &[String], group: &TokenStream, line: usize) {
        for part in split_at_commas(group) {
            let tokens: Vec<TokenTree> = part.into_iter().collect();
            let (path, inner, _) = path_at(&tokens);
            let path = [prefix, &path].concat();
            match inner {
                Some(inner) => self.add_group(&path, &inner, line),
                None => self.add(&path, line),
            }
        }
    }
}

/// The path at the start of `tokens`, the braces that may end it, and how many tokens it has.
fn path_at(tokens: &[TokenTree]) -> (Vec<String>, Option<TokenStream>, usize) {
    let mut path = Vec::new();
    let mut at = 0;
    if let Some(TokenTree::Ident(name)) = tokens.first() {
        path.push(name_of(name));
        at = 1;
    }
    while is_separator(tokens.get(at..).unwrap_or_default()) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(name)) => path.push(name_of(name)),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                return (path, Some(group.stream()), at + 3);
            }
            _ => break,
        }
        at += 3;
    }
    (path, None, at.max(1))
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    let colon = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ':');
    matches!(tokens, [first, second, ..] if colon(first) && colon(second))
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(name_of(&item.ident));
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for (path, _) in paths {
            self.add(&path, line_of(item));
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast syn::ExprBlock) {
        if !is_test_only(&block.attrs) {
            visit::visit_expr_block(self, block);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_test_only(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let names: Vec<String> = path.segments.iter().map(|segment| name_of(&segment.ident)).collect();
            self.add(&names, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    // `pub(in path)` names a module that the item is in already.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.scan(&called.tokens);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.scan(&list.tokens);
    }
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{SourceFile, aliases, of_file};

    fn file(text: &str) -> SourceFile {
        let module = vec!["timer".to_owned(), "queue".to_owned()];
        let syntax = syn::parse_file(text).expect("Rust");
        SourceFile { module, path: PathBuf::from("src/timer/queue.rs"), syntax }
    }

    fn targets(text: &str) -> Vec<String> {
        let mut targets: Vec<String> = of_file(&file(text)).iter().map(|used| used.to.join("::")).collect();
        targets.sort();
        targets
    }

    #[test]
    fn a_use_is_found_in_all_its_forms() {
        assert_eq!(
            targets("use crate::{console, memory::{self, Frame as F}};"),
            ["console", "memory", "memory::Frame"]
        );
        assert_eq!(targets("use super::super::console::*;"), ["console"]);
        assert_eq!(targets("use super::list; mod inner { use super::super::list; }"), ["timer::list", "timer::list"]);
        assert_eq!(targets("use self::inner::X; use std::fmt;"), ["timer::queue::inner::X"]);
    }

    #[test]
    fn a_path_is_found_in_expressions_types_and_macros() {
        assert_eq!(
            targets("fn f(a: crate::a::T) -> Vec<crate::b::T> { crate::c::f::<crate::d::T>() }"),
            ["a::T", "b::T", "c::f", "d::T"]
        );
        assert_eq!(targets("fn f() { crate::log::warn!(\"{}\", super::super::b::f()); }"), ["b::f", "log::warn"]);
        assert_eq!(
            targets("macro_rules! m { () => { $crate::a::f(); use crate::{b, c::{d, e}}; } }"),
            ["a::f", "b", "c::d", "c::e"]
        );
    }

    #[test]
    fn test_code_uses_nothing() {
        assert_eq!(targets("#[cfg(test)] mod tests { use crate::testing; }"), [""; 0]);
        assert_eq!(targets("#[cfg(any(test, feature = \"testing\"))] fn f() { crate::testing::f() }"), [""; 0]);
        assert_eq!(targets("struct S; impl S { #[cfg(test)] fn f() { crate::testing::f() } }"), [""; 0]);
    }

    #[test]
    fn a_name_that_a_module_brings_in_stands_for_a_path() {
        let found = aliases(&file("pub use inner::{Item, Other as Name}; use std::fmt;"), |name| name == "inner");
        let shown: Vec<(&str, String)> = found.iter().map(|alias| (&*alias.name, alias.to.join("::"))).collect();
        let inner = |name: &str| format!("timer::queue::inner::{name}");
        assert_eq!(shown, [("Item", inner("Item")), ("Name", inner("Other")), ("fmt", String::new())]);
    }
}
