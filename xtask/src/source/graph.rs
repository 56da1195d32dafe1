//! The modules of a crate, or of one module of it, and the arrows between them: `a -> b` where
//! code in `a` names something in `b`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::tree::{SourceFile, Tree};
use super::uses::{self, Alias, Use};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// The module that uses, and the one that it uses.
pub(crate) type Arrow = (String, String);

/// The name that stands for the parent module itself as the target of an arrow.
pub(crate) const ROOT: &str = "crate root";

/// Modules with their declarations, and arrows with the places that make them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) modules: BTreeMap<String, Place>,
    pub(crate) arrows: BTreeMap<Arrow, BTreeSet<Place>>,
}

/// What a path that begins at the parent module may name.
struct Names<'a> {
    /// The parent module's own path.
    base: &'a [String],
    /// Names through which a use makes no arrow.
    seams: &'a [String],
    modules: BTreeSet<String>,
    aliases: Vec<Alias>,
    /// Exported macros, with the modules that define them.
    macros: BTreeMap<String, String>,
}

impl Graph {
    /// Reads the graph of the modules directly below `name`: a package's folder, and the path of a
    /// module in it if it has one (`xtask::debian`). `seams` are names that the parent brings in
    /// with `use`; a use through one of them makes no arrow.
    pub(crate) fn read(workspace: &Path, name: &str, seams: &[String]) -> Result<Self> {
        let mut words = name.split("::");
        let tree = Tree::read(workspace, words.next().unwrap_or_default())?;
        let base: Vec<String> = words.map(str::to_owned).collect();
        let graph = Self::of(&tree, &base, seams);
        ensure!(!graph.modules.is_empty(), "{name} has no modules: take its section out of layers.txt");
        Ok(graph)
    }

    fn of(tree: &Tree, base: &[String], seams: &[String]) -> Self {
        let mut graph = Self::default();
        for declaration in &tree.modules {
            if let Some([name]) = declaration.module.strip_prefix(base) {
                let place = Place { file: declaration.file.clone(), line: declaration.line };
                // The same module may be declared under several conditions.
                graph.modules.entry(name.clone()).or_insert(place);
            }
        }
        let names = Names::read(tree, base, seams, graph.modules.keys().cloned().collect());
        for file in &tree.files {
            for used in uses::of_file(file) {
                graph.add(&names, &file.path, &used);
            }
        }
        graph
    }

    fn add(&mut self, names: &Names<'_>, file: &Path, used: &Use) {
        let Some([from, ..]) = used.from.strip_prefix(names.base) else { return };
        let Some([to, ..]) = used.to.strip_prefix(names.base) else { return };
        for to in names.targets(to) {
            if to != *from {
                let place = Place { file: file.to_owned(), line: used.line };
                self.arrows.entry((from.clone(), to)).or_default().insert(place);
            }
        }
    }

    /// The cycles: groups of modules each of which reaches all others of its group, by arrows that
    /// `counts` admits.
    pub(crate) fn cycles(&self, counts: impl Fn(&Arrow) -> bool) -> Vec<Vec<&str>> {
        let names: Vec<&str> = self.modules.keys().map(String::as_str).collect();
        let at = |name: &str| names.binary_search(&name).ok();
        let mut reaches = vec![vec![false; names.len()]; names.len()];
        for arrow in self.arrows.keys().filter(|arrow| counts(arrow)) {
            if let (Some(from), Some(to)) = (at(&arrow.0), at(&arrow.1)) {
                reaches[from][to] = true;
            }
        }
        for through in 0..names.len() {
            for from in 0..names.len() {
                for to in 0..names.len() {
                    reaches[from][to] |= reaches[from][through] && reaches[through][to];
                }
            }
        }
        let mutual = |of: usize, to: usize| to == of || (reaches[of][to] && reaches[to][of]);
        let group = |of| (0..names.len()).filter(|&to| mutual(of, to)).map(|to| names[to]).collect();
        let groups: BTreeSet<Vec<&str>> = (0..names.len()).map(group).collect();
        groups.into_iter().filter(|group| group.len() > 1).collect()
    }
}

impl<'a> Names<'a> {
    /// Reads what the parent module's file brings in, and the macros that modules export.
    fn read(tree: &Tree, base: &'a [String], seams: &'a [String], modules: BTreeSet<String>) -> Self {
        let parent = tree.files.iter().filter(|file| file.module == base);
        let aliases = parent.flat_map(|file| uses::aliases(file, |name| modules.contains(name))).collect();
        let exported = |file: &SourceFile| {
            let module = file.module.strip_prefix(base).and_then(|path| path.first().cloned());
            uses::exported_macros(file).into_iter().filter_map(move |name| Some((name, module.clone()?)))
        };
        let macros = tree.files.iter().flat_map(exported).collect();
        Self { base, seams, modules, aliases, macros }
    }

    /// The modules that a name in the parent module stands for; several where an alias differs by
    /// target, none where it is another crate's.
    fn targets(&self, name: &str) -> BTreeSet<String> {
        if self.seams.iter().any(|seam| seam == name) {
            return BTreeSet::new();
        }
        if self.modules.contains(name) {
            return [name.to_owned()].into();
        }
        if let Some(module) = self.macros.get(name) {
            return [module.clone()].into();
        }
        let mut aliases = self.aliases.iter().filter(|alias| alias.name == name).peekable();
        if aliases.peek().is_none() {
            return [ROOT.to_owned()].into();
        }
        aliases
            .filter_map(|alias| alias.to.strip_prefix(self.base)?.first())
            .filter(|target| self.modules.contains(*target))
            .cloned()
            .collect()
    }
}
