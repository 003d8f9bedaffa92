//! Rust text in, tokens out: just enough of a lexer to tell code from comments and strings.
//!
//! Identifiers, `::` and single punctuation marks are tokens; a string, character or number is one
//! token with its literal text; comments are dropped. Lines count from 1.

/// A piece of code and the line on which it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

impl Token<'_> {
    /// An identifier or keyword; never a number or a literal.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
            && self.text.chars().all(is_word_char)
            && self.text != "_"
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits a whole file. What does not end (a comment, a string) runs to the end of the text.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = match first {
            c if c.is_whitespace() => (c.len_utf8(), false),
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), true),
            '\'' => (quote(rest), true),
            c if is_word_start(c) => (word_or_literal(rest), true),
            c if c.is_ascii_digit() => (number(rest), true),
            ':' if rest.starts_with("::") => (2, true),
            c => (c.len_utf8(), true),
        };
        let (piece, after) = rest.split_at(length);
        if keep {
            found.push(Token { text: piece, line });
        }
        line += piece.matches('\n').count();
        rest = after;
    }
    found
}

/// Comments nest.
fn block_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// From the opening quote to behind the closing one.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A character such as `'"'` or `'\''`, or a lifetime such as `'a`.
fn quote(text: &str) -> usize {
    let inner = &text[1..];
    let Some(first) = inner.chars().next() else {
        return 1;
    };
    if first == '\\' {
        let escaped = 2 + inner[1..].chars().next().map_or(0, char::len_utf8);
        return text[escaped..].find('\'').map_or(text.len(), |end| escaped + end + 1);
    }
    let behind = 1 + first.len_utf8();
    if text[behind..].starts_with('\'') {
        return behind + 1;
    }
    1 + inner.find(|c| !is_word_char(c)).unwrap_or(inner.len())
}

/// An identifier, or one of the literals that start like one: `b"…"`, `r#"…"#`, `b'x'`, `r#type`.
fn word_or_literal(text: &str) -> usize {
    let end = text.find(|c| !is_word_char(c)).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    match word {
        "b" | "c" if after.starts_with('"') => end + string(after),
        "b" if after.starts_with('\'') => end + quote(after),
        "r" | "br" | "cr" if after.starts_with(['"', '#']) => {
            let hashes = after.len() - after.trim_start_matches('#').len();
            if !after[hashes..].starts_with('"') {
                return end;
            }
            let close = format!("\"{}", "#".repeat(hashes));
            let body = end + hashes + 1;
            text[body..].find(&close).map_or(text.len(), |at| body + at + close.len())
        }
        _ => end,
    }
}

/// Digits with a suffix or a fraction; `0..5` is a number, two dots and a number.
fn number(text: &str) -> usize {
    let whole = text.find(|c| !is_word_char(c)).unwrap_or(text.len());
    let after = &text[whole..];
    if after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return whole + 1 + number(&after[1..]);
    }
    whole
}

/// The index behind the bracket that closes the one at `open`, or the end of the file.
pub fn behind_group(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_vanish_and_literals_stay_whole() {
        let text =
            "a // b\n/* c /* d */ e */ f(\"g \\\" // h\", 'i', '\\'', b'\"', &'j k) 0..1.5e3";
        let expected = [
            "a",
            "f",
            "(",
            "\"g \\\" // h\"",
            ",",
            "'i'",
            ",",
            "'\\''",
            ",",
            "b'\"'",
            ",",
            "&",
            "'j",
            "k",
            ")",
            "0",
            ".",
            ".",
            "1.5e3",
        ];
        assert_eq!(texts(text), expected);
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(
            texts("r#\"a\"b\"# r\"c\" br##\"d\"#\"##"),
            ["r#\"a\"b\"#", "r\"c\"", "br##\"d\"#\"##"]
        );
        assert_eq!(texts("r#type"), ["r", "#", "type"]);
    }

    #[test]
    fn lines_count_through_comments_and_strings() {
        let lines: Vec<usize> = tokens("a\n/*\n*/ b\n\"\n\" c").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 3, 4, 5]);
    }
}
