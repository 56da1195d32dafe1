//! Rust source as tokens: identifiers, literals, and the comments between them.

use std::ops::Range;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};

/// What a piece of source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Comment,
    StringLiteral,
    Identifier,
    /// A number, a character, or punctuation.
    Other,
}

/// A piece of source: its kind and its place in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// The tokens and comments of a Rust file in their order; white space is left out.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("cannot be split into tokens: {error}"))?;
    let mut leaves = Vec::new();
    collect(text, tokens, &mut leaves);
    leaves.sort_by_key(|piece| piece.range.start);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut end = 0;
    for piece in leaves {
        // The tokens of a doc comment all lie at the place of the comment.
        if piece.range.start < end {
            continue;
        }
        add_comment(text, end..piece.range.start, &mut pieces);
        end = piece.range.end;
        pieces.push(piece);
    }
    add_comment(text, end..text.len(), &mut pieces);
    Ok(pieces)
}

/// Adds what lies between two tokens, unless it is white space.
fn add_comment(text: &str, range: Range<usize>, pieces: &mut Vec<Piece>) {
    if !text[range.clone()].trim().is_empty() {
        pieces.push(Piece { kind: Kind::Comment, range });
    }
}

fn collect(text: &str, tokens: TokenStream, leaves: &mut Vec<Piece>) {
    for token in tokens {
        let kind = match &token {
            TokenTree::Group(group) => {
                for part in [group.span_open(), group.span_close()] {
                    add_leaf(text, Kind::Other, part.byte_range(), leaves);
                }
                collect(text, group.stream(), leaves);
                continue;
            }
            TokenTree::Ident(_) => Kind::Identifier,
            TokenTree::Literal(_) => Kind::StringLiteral,
            TokenTree::Punct(_) => Kind::Other,
        };
        add_leaf(text, kind, token.span().byte_range(), leaves);
    }
}

fn add_leaf(text: &str, kind: Kind, range: Range<usize>, leaves: &mut Vec<Piece>) {
    let source = text.get(range.clone()).unwrap_or_default();
    let kind = match kind {
        _ if source.starts_with("//") || source.starts_with("/*") => Kind::Comment,
        Kind::StringLiteral if !source.contains('"') => Kind::Other,
        kind => kind,
    };
    leaves.push(Piece { kind, range });
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::{Kind, Piece, pieces};

    /// Whether `word` occurs as an identifier or keyword.
    fn has_word(text: &str, word: &str) -> Result<bool> {
        let is_word = |piece: &Piece| piece.kind == Kind::Identifier && text[piece.range.clone()] == *word;
        Ok(pieces(text)?.iter().any(is_word))
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        for hidden in [
            "// unsafe\nfn f() {}",
            "/* a /* unsafe */ unsafe */ fn f() {}",
            "let a = \"\\\" unsafe\";",
            "let a = r#\"\" unsafe\"#;",
            "let a = br\"unsafe\";",
            "let a = ('\"', \"unsafe\", '\\'', \"unsafe\");",
            "/// unsafe\nfn f() {}",
            "forbid(unsafe_code)",
        ] {
            assert!(!has_word(hidden, "unsafe").expect("tokens"), "{hidden}");
        }
        for shown in
            ["unsafe { f() }", "/* a */ unsafe", "fn f<'a>(a: &'a str) { unsafe {} }", "let q = '\"'; unsafe {} // \""]
        {
            assert!(has_word(shown, "unsafe").expect("tokens"), "{shown}");
        }
        assert!(has_word("fn f() { \"", "unsafe").is_err());
    }

    #[test]
    fn comments_and_string_literals_are_found() {
        let text = "//! a\n/// b\nfn f() { // c\n    g(\"d\", 'e', 1); /* f */\n}\n// g";
        let found: Vec<(Kind, &str)> = pieces(text)
            .expect("tokens")
            .into_iter()
            .filter(|piece| matches!(piece.kind, Kind::Comment | Kind::StringLiteral))
            .map(|piece| (piece.kind, text[piece.range].trim()))
            .collect();
        let comment = Kind::Comment;
        assert_eq!(
            found,
            [
                (comment, "//! a"),
                (comment, "/// b"),
                (comment, "// c"),
                (Kind::StringLiteral, "\"d\""),
                (comment, "/* f */"),
                (comment, "// g"),
            ]
        );
    }
}
