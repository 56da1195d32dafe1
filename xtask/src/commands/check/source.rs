//! Rust source looked at without a compiler: code without comments and literals, words in it, attributes.

/// The code with comments, string and character literals blanked out, byte for byte; line ends stay.
pub(super) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = skipped(rest, code.chars().next_back());
        if length == 0 {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            code.extend(rest[..length].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Length of the comment or literal at the start of `text`, 0 if there is none. `before` is the letter in front of it.
fn skipped(text: &str, before: Option<char>) -> usize {
    let to_end = |found: Option<usize>, end: &str| found.map_or(text.len(), |at| at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let in_word = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    if !in_word && let Some(raw) = text.strip_prefix("br").or_else(|| text.strip_prefix('r')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = text.len() - raw.len() + hashes + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            return to_end(text[start..].find(&end).map(|at| at + start), &end);
        }
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    // A lifetime has no second quote where a character literal has it.
    let mut letters = text.chars();
    if letters.next() == Some('\'') {
        let first = letters.next();
        if first == Some('\\') || (first.is_some() && letters.next() == Some('\'')) {
            return quoted(text, '\'');
        }
    }
    0
}

/// Length of the literal that begins and ends with `quote`, in which a backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if !escaped && letter == quote {
            return at + 1;
        }
        escaped = !escaped && letter == '\\';
    }
    text.len()
}

/// Length of a block comment, in which others may nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Whether `word` occurs on its own.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|found| found == word)
}

/// The attributes that allow, or expect, the lint.
pub(super) fn attributes<'a>(text: &'a str, lint: &str) -> Vec<&'a str> {
    let code = code_only(text);
    let range = |(start, _): (usize, &str)| {
        let inner = code[start..].strip_prefix("#![").or_else(|| code[start..].strip_prefix("#["))?;
        if !inner.starts_with("allow(") && !inner.starts_with("expect(") {
            return None;
        }
        let length = code[start..].find(")]")?;
        has_word(&code[start..start + length], lint).then_some(&text[start..start + length])
    };
    code.match_indices('#').filter_map(range).collect()
}

/// Whether the attribute gives a reason of some words.
pub(super) fn has_reason(attribute: &str) -> bool {
    let reason = attribute.split_once("reason").and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
    reason.is_some_and(|reason| reason.trim_matches([' ', '\n', '"', ',']).split_whitespace().count() >= 2)
}

#[cfg(test)]
mod tests {
    use super::{attributes, code_only, has_reason, has_word};

    #[test]
    fn comments_and_literals_are_no_code() {
        for hidden in [
            "// unsafe\nfn f() {}",
            "/* a /* unsafe */ unsafe */ fn f() {}",
            "let a = \"\\\" unsafe\";",
            "let a = r#\"\" unsafe\"#;",
            "let a = br\"unsafe\";",
            "let a = ('\"', \"unsafe\", '\\'', \"unsafe\");",
            "forbid(unsafe_code)",
        ] {
            assert!(!has_word(&code_only(hidden), "unsafe"), "{hidden}");
        }
        for shown in
            ["unsafe { f() }", "/* a */ unsafe", "fn f<'a>(a: &'a str) { unsafe {} }", "let q = '\"'; unsafe {} // \""]
        {
            assert!(has_word(&code_only(shown), "unsafe"), "{shown}");
        }
    }

    #[test]
    fn an_attribute_has_a_reason() {
        let found = attributes(
            "#![expect(unsafe_code, reason = \"writes page tables\")]\n#[allow(unsafe_code)]",
            "unsafe_code",
        );
        assert_eq!(found.len(), 2);
        assert!(has_reason(found[0]) && !has_reason(found[1]));
    }
}
