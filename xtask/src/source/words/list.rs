//! `retired-words.txt`: phrases with their replacements, and the clean paths.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::prose::Word;

/// A phrase that is not used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retired {
    pub(super) phrase: String,
    pub(super) instead: String,
    words: Vec<String>,
}

/// The whole list.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    retired: Vec<Retired>,
    clean: Vec<PathBuf>,
}

impl List {
    /// Reads the text of the list.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(path) = line.strip_prefix("clean:") {
                list.clean.push(path.trim().into());
                continue;
            }
            let (phrase, instead) = line.split_once("->").with_context(|| {
                format!(
                    "retired-words.txt:{number}: '{line}': write 'phrase -> what to write instead' or 'clean: path'"
                )
            })?;
            let (phrase, instead) = (phrase.trim().to_lowercase(), instead.trim().to_owned());
            let words: Vec<String> = phrase.split_whitespace().map(str::to_owned).collect();
            ensure!(!words.is_empty() && !instead.is_empty(), "retired-words.txt:{number}: '{line}': a side is empty");
            list.retired.push(Retired { phrase, instead, words });
        }
        Ok(list)
    }

    /// Whether the file is in one of the clean paths.
    pub(super) fn covers(&self, file: &Path) -> bool {
        self.clean.iter().any(|path| file.starts_with(path))
    }

    /// The retired phrases among the words, each with its line.
    pub(super) fn occurrences(&self, words: &[Word]) -> Vec<(usize, &Retired)> {
        let mut found = Vec::new();
        for retired in &self.retired {
            let is_here = |window: &&[Word]| {
                window.iter().zip(&retired.words).all(|(word, wanted)| word.text.as_deref() == Some(wanted))
            };
            let here = words.windows(retired.words.len()).filter(is_here);
            found.extend(here.filter_map(|window| Some((window.first()?.line, retired))));
        }
        found
    }
}
