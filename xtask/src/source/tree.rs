//! The module tree of a crate, read by following `mod` declarations from its root file. Modules
//! that are declared for tests only are left out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta};

/// A source file with the path of the module that it holds; the crate root has the empty path.
pub(super) struct SourceFile {
    pub(super) module: Vec<String>,
    /// Relative to the workspace root.
    pub(super) path: PathBuf,
    pub(super) syntax: syn::File,
}

/// A module and where it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    pub(super) module: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// The files and modules of one crate.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) files: Vec<SourceFile>,
    pub(super) modules: Vec<Declaration>,
}

/// A file that is being read: its module, its path, and the folder with its child modules.
struct Place<'a> {
    module: &'a [String],
    file: &'a Path,
    children: &'a Path,
}

impl Tree {
    /// Reads the crate in the folder `package`, relative to `workspace`.
    pub(super) fn read(workspace: &Path, package: &str) -> Result<Self> {
        let source = Path::new(package).join("src");
        let roots = ["lib.rs", "main.rs"].map(|name| source.join(name));
        let root = roots
            .iter()
            .find(|root| workspace.join(root).is_file())
            .with_context(|| format!("{} has neither lib.rs nor main.rs", source.display()))?;
        let mut tree = Self::default();
        tree.read_file(workspace, Vec::new(), root.clone(), &source)?;
        Ok(tree)
    }

    fn read_file(&mut self, workspace: &Path, module: Vec<String>, path: PathBuf, children: &Path) -> Result<()> {
        let text =
            fs::read_to_string(workspace.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        let syntax = syn::parse_file(&text).with_context(|| {
            format!("cannot parse {}: run 'cargo check' for the compiler's message", path.display())
        })?;
        if is_test_only(&syntax.attrs) {
            return Ok(());
        }
        let place = Place { module: &module, file: &path, children };
        self.read_items(workspace, &syntax.items, &place)?;
        self.files.push(SourceFile { module, path, syntax });
        Ok(())
    }

    fn read_items(&mut self, workspace: &Path, items: &[Item], place: &Place<'_>) -> Result<()> {
        for item in items {
            if let Item::Mod(declared) = item
                && !is_test_only(&declared.attrs)
            {
                self.read_module(workspace, declared, place)?;
            }
        }
        Ok(())
    }

    fn read_module(&mut self, workspace: &Path, declared: &ItemMod, place: &Place<'_>) -> Result<()> {
        let name = name_of(&declared.ident);
        let module: Vec<String> = place.module.iter().chain([&name]).cloned().collect();
        let line = declared.ident.span().start().line;
        self.modules.push(Declaration { module: module.clone(), file: place.file.to_owned(), line });
        let folder = place.children.join(&name);
        if let Some((_, items)) = &declared.content {
            let inner = Place { module: &module, file: place.file, children: &folder };
            return self.read_items(workspace, items, &inner);
        }
        let paths = path_attributes(&declared.attrs);
        if !paths.is_empty() {
            for path in paths {
                let file = place.file.parent().unwrap_or(Path::new("")).join(path);
                let children = file.parent().unwrap_or(Path::new("")).to_owned();
                self.read_file(workspace, module.clone(), file, &children)?;
            }
            return Ok(());
        }
        let (flat, nested) = (folder.with_extension("rs"), folder.join("mod.rs"));
        let file = if workspace.join(&flat).is_file() { flat } else { nested };
        self.read_file(workspace, module, file, &folder)
    }
}

/// The name of an identifier without the `r#` of a raw one.
pub(super) fn name_of(identifier: &syn::Ident) -> String {
    let text = identifier.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}

/// The line on which a piece of syntax begins.
pub(super) fn line_of(syntax: &impl Spanned) -> usize {
    syntax.span().start().line
}

/// The files that attributes name for a module: more than one where the target decides which
/// (`cfg_attr`), as for the two back ends.
fn path_attributes(attributes: &[Attribute]) -> Vec<String> {
    attributes.iter().flat_map(|attribute| paths_of(&attribute.meta)).collect()
}

fn paths_of(attribute: &Meta) -> Vec<String> {
    match attribute {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => vec![text.value()],
            _ => Vec::new(),
        },
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let conditional = split_at_commas(&list.tokens).into_iter().skip(1);
            conditional.filter_map(|tokens| syn::parse2(tokens).ok()).flat_map(|inner: Meta| paths_of(&inner)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the attributes restrict an item to test builds: `#[test]`, or a `cfg` that holds in
/// those only. The feature `testing` counts as a test build.
pub(super) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => needs_test(&list.tokens),
        _ => false,
    })
}

/// Whether a `cfg` predicate holds in test builds only.
fn needs_test(predicate: &TokenStream) -> bool {
    let tokens: Vec<TokenTree> = predicate.clone().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name)] => name == "test",
        [TokenTree::Ident(key), TokenTree::Punct(_), TokenTree::Literal(value)] => {
            key == "feature" && value.to_string() == "\"testing\""
        }
        [TokenTree::Ident(name), TokenTree::Group(group), ..] => {
            let parts = split_at_commas(&group.stream());
            match name.to_string().as_str() {
                "any" => parts.iter().all(needs_test),
                "all" => parts.iter().any(needs_test),
                _ => false,
            }
        }
        _ => false,
    }
}

/// The parts between the commas of a token stream; nested groups stay whole.
pub(super) fn split_at_commas(tokens: &TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens.clone() {
        match (&token, parts.last_mut()) {
            (TokenTree::Punct(mark), _) if mark.as_char() == ',' => parts.push(TokenStream::new()),
            (_, Some(part)) => part.extend([token]),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::is_test_only;

    #[test]
    fn only_conditions_that_need_a_test_build_hide_an_item() {
        let hidden = |attribute: &str| {
            let item: syn::ItemStruct = syn::parse_str(&format!("{attribute} struct A;")).expect("an item");
            is_test_only(&item.attrs)
        };
        for attribute in [
            "#[cfg(test)]",
            "#[cfg(any(test, feature = \"testing\"))]",
            "#[cfg(all(test, target_os = \"linux\"))]",
            "#[test]",
        ] {
            assert!(hidden(attribute), "{attribute}");
        }
        for attribute in [
            "#[cfg(not(test))]",
            "#[cfg(any(test, target_os = \"linux\"))]",
            "#[cfg(feature = \"other\")]",
            "#[inline]",
        ] {
            assert!(!hidden(attribute), "{attribute}");
        }
    }
}
