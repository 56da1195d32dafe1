//! The prose of a file: Markdown text, comments, and string literals, as words and as lines.

use anyhow::Result;

use crate::source::files::TextFile;
use crate::source::tokens::{self, Kind};

/// A word in lower case, or the end of a phrase: punctuation or code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: Option<String>,
    pub(super) line: usize,
}

/// A line that has to keep to the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) width: usize,
}

/// The prose of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Prose {
    pub(super) words: Vec<Word>,
    pub(super) lines: Vec<Line>,
    /// Within a fenced code block.
    in_code: bool,
}

/// The prose of a file, by the extension of its name.
pub(super) fn of(file: &TextFile) -> Result<Prose> {
    match file.extension() {
        "rs" => of_rust(&file.text),
        "md" => Ok(of_markdown(&file.text)),
        _ => Ok(of_script(&file.text)),
    }
}

fn of_markdown(text: &str) -> Prose {
    let mut prose = Prose::default();
    for (number, line) in (1..).zip(text.lines()) {
        prose.add_line(number, line, line.chars().count());
    }
    prose
}

/// A file whose comments begin with `#` or `//`.
fn of_script(text: &str) -> Prose {
    let mut prose = Prose::default();
    for (number, line) in (1..).zip(text.lines()) {
        let starts = ["#", "//"].iter().filter_map(|mark| line.find(&format!(" {mark} ")).map(|at| at + 1));
        let whole = line.trim_start().starts_with(['#', '/']).then_some(0);
        match whole.or(starts.min()) {
            Some(at) => prose.add_line(number, line[at..].trim_start_matches([' ', '#', '/']), line.chars().count()),
            None => prose.end_phrase(number),
        }
    }
    prose
}

fn of_rust(text: &str) -> Result<Prose> {
    let starts: Vec<usize> = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let number_at = |at: usize| starts.partition_point(|start| *start <= at);
    let mut prose = Prose::default();
    for piece in tokens::pieces(text)? {
        let first = number_at(piece.range.start);
        let source = &text[piece.range.clone()];
        match piece.kind {
            Kind::Comment => {
                for (number, line) in (first..).zip(source.lines()) {
                    let stripped = line.trim_start().trim_start_matches(['/', '!', '*']);
                    if stripped.trim().is_empty() && !line.contains('/') {
                        continue;
                    }
                    let whole = text[starts[number - 1]..].lines().next().unwrap_or_default();
                    prose.add_line(number, stripped.trim_end_matches("*/"), whole.chars().count());
                }
            }
            Kind::StringLiteral => {
                for (number, line) in (first..).zip(source.lines()) {
                    prose.add_words(number, &line.replace("\\n", " . "));
                }
                prose.end_phrase(first);
            }
            Kind::Identifier | Kind::Other => prose.end_phrase(first),
        }
    }
    Ok(prose)
}

impl Prose {
    /// Adds a line of Markdown; `width` is that of the whole line in the file.
    fn add_line(&mut self, number: usize, text: &str, width: usize) {
        let trimmed = text.trim();
        if trimmed.starts_with("```") {
            self.in_code = !self.in_code;
            return self.end_phrase(number);
        }
        if self.in_code || text.starts_with("    ") {
            return self.end_phrase(number);
        }
        if trimmed.is_empty() {
            self.end_phrase(number);
        }
        self.add_words(number, text);
        if !trimmed.starts_with('|') && !trimmed.contains("://") {
            self.lines.push(Line { number, width });
        }
    }

    /// Adds the words of a line; code spans and punctuation end a phrase.
    fn add_words(&mut self, number: usize, text: &str) {
        for (place, part) in text.split('`').enumerate() {
            if place > 0 {
                self.end_phrase(number);
            }
            if place % 2 == 1 {
                continue;
            }
            for word in part.split_inclusive(|letter: char| !is_of_word(letter)) {
                let ends = word.ends_with(['.', ':', ';', '!', '?', '(', ')', '"', '{', '}', '<', '>', '=']);
                let letters = word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
                if !letters.is_empty() {
                    self.words.push(Word { text: Some(letters), line: number });
                }
                if ends {
                    self.end_phrase(number);
                }
            }
        }
    }

    fn end_phrase(&mut self, number: usize) {
        self.words.push(Word { text: None, line: number });
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || ['_', '-', '\'', '\u{2019}'].contains(&letter)
}
