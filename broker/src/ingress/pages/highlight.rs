//! Lua source as markup: numbered lines, tokens told apart by class.
//!
//! Takes any text, gives markup that reads the same. Pure; never fails: what is no Lua is plain text.

use super::html::Html;

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// What a stretch of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Keyword,
    Text,
    Number,
    Comment,
    Header,
}

/// Lua source, a numbered line at a time. Lines can be pointed to: `#L7` with `prefix` `L`; not without one.
#[must_use]
pub fn lua(text: &str, prefix: &'static str) -> Html {
    let mut lines = Lines::new(prefix);
    for (kind, token) in Tokens(text) {
        lines.add(kind, token);
    }
    lines.end()
}

/// Any other source.
#[must_use]
pub fn plain(text: &str, prefix: &'static str) -> Html {
    let mut lines = Lines::new(prefix);
    lines.add(Kind::Plain, text);
    lines.end()
}

/// Lua code within a text: no numbers.
#[must_use]
pub fn snippet(text: &str) -> Html {
    let mut html = Html::default();
    for (kind, token) in Tokens(text) {
        put(&mut html, kind, token);
    }
    html
}

fn put(html: &mut Html, kind: Kind, text: &str) {
    match kind {
        Kind::Plain => html.text(text),
        Kind::Keyword => html.put("<b>{}</b>", &[&text]),
        Kind::Text => html.put("<i class=\"s\">{}</i>", &[&text]),
        Kind::Number => html.put("<i class=\"n\">{}</i>", &[&text]),
        Kind::Comment => html.put("<i class=\"c\">{}</i>", &[&text]),
        Kind::Header => html.put("<i class=\"h\">{}</i>", &[&text]),
    }
}

/// Source on its way into lines.
struct Lines {
    html: Html,
    prefix: &'static str,
    number: usize,
    open: bool,
}

impl Lines {
    fn new(prefix: &'static str) -> Lines {
        let html = Html::of("<pre class=\"source\" tabindex=\"0\"><code>", &[]);
        Lines { html, prefix, number: 0, open: false }
    }

    /// Adds a token, which may go over several lines.
    fn add(&mut self, kind: Kind, token: &str) {
        for piece in token.split_inclusive('\n') {
            if !self.open {
                self.number += 1;
                match self.prefix {
                    "" => self.html.put("<span>", &[]),
                    prefix => self.html.put("<span id=\"{}{}\">", &[&prefix, &self.number]),
                }
                self.open = true;
            }
            let line = piece.strip_suffix('\n').unwrap_or(piece);
            if !line.is_empty() {
                put(&mut self.html, kind, line.strip_suffix('\r').unwrap_or(line));
            }
            if piece.ends_with('\n') {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.html.put("</span>\n", &[]);
        self.open = false;
    }

    fn end(mut self) -> Html {
        if self.open {
            self.close();
        }
        self.html.put("</code></pre>", &[]);
        self.html
    }
}

/// The tokens of a text; put together they are the text.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = (Kind, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, size) = token(self.0)?;
        let (token, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some((kind, token))
    }
}

/// What a text begins with, and for how many bytes.
fn token(text: &str) -> Option<(Kind, usize)> {
    let first = text.chars().next()?;
    let run = |test: &dyn Fn(char) -> bool| text.find(|c| !test(c)).unwrap_or(text.len());
    Some(match first {
        '-' if text.starts_with("--") => comment(text),
        '"' | '\'' => (Kind::Text, quoted(text, first)),
        '[' => long(text).map_or((Kind::Plain, 1), |size| (Kind::Text, size)),
        '0'..='9' => (Kind::Number, run(&|c| c.is_ascii_alphanumeric() || c == '.')),
        c if is_word(c) => {
            let size = run(&|c| is_word(c) || c.is_ascii_digit());
            let kind = if KEYWORDS.contains(&&text[..size]) { Kind::Keyword } else { Kind::Plain };
            (kind, size)
        }
        _ => (
            Kind::Plain,
            run(&|c| !is_word(c) && !matches!(c, '-' | '"' | '\'' | '[' | '0'..='9')).max(first.len_utf8()),
        ),
    })
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn comment(text: &str) -> (Kind, usize) {
    if let Some(size) = long(&text[2..]) {
        return (Kind::Comment, 2 + size);
    }
    let size = text.find('\n').unwrap_or(text.len());
    (if text.starts_with("--*") { Kind::Header } else { Kind::Comment }, size)
}

/// The size of a long bracket that stands here, closed or not: `[==[ … ]==]`.
fn long(text: &str) -> Option<usize> {
    let level = text.strip_prefix('[')?.bytes().take_while(|byte| *byte == b'=').count();
    let inner = text[1 + level..].strip_prefix('[')?;
    let close = format!("]{}]", "=".repeat(level));
    let found = memchr::memmem::find(inner.as_bytes(), close.as_bytes());
    Some(found.map_or(text.len(), |at| 2 + level + at + close.len()))
}

/// The size of a quoted string: up to the quote or the line's end.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        Tokens(text).filter(|(kind, _)| *kind != Kind::Plain).collect()
    }

    #[test]
    fn tokens() {
        let found =
            kinds("--* subject: x\nlocal a = \"q\\\"<\" .. 'b' -- c\nreturn 0x1F, 1e5, endless, t[1]");
        let expected = [
            (Kind::Header, "--* subject: x"),
            (Kind::Keyword, "local"),
            (Kind::Text, "\"q\\\"<\""),
            (Kind::Text, "'b'"),
            (Kind::Comment, "-- c"),
            (Kind::Keyword, "return"),
            (Kind::Number, "0x1F"),
            (Kind::Number, "1e5"),
            (Kind::Number, "1"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn long_brackets_go_over_lines() {
        assert_eq!(kinds("x = [==[a\n]]b]==] y"), [(Kind::Text, "[==[a\n]]b]==]")]);
        assert_eq!(kinds("--[[a\nb]] c"), [(Kind::Comment, "--[[a\nb]]")]);
        assert_eq!(kinds("--[[a\nb"), [(Kind::Comment, "--[[a\nb")]);
        let html = lua("--[[a\nb]] c\n", "L");
        let expected = "<pre class=\"source\" tabindex=\"0\"><code><span id=\"L1\"><i class=\"c\">--[[a</i></span>\n\
            <span id=\"L2\"><i class=\"c\">b]]</i> c</span>\n</code></pre>";
        assert_eq!(html.as_str(), expected);
    }

    #[test]
    fn nothing_is_markup() {
        let html = lua("\"</pre><script>\" -- <b>\n<i>", "L");
        assert!(!html.as_str().contains("<script") && html.as_str().matches("</pre>").count() == 1);
    }

    proptest! {
        #[test]
        fn any_text_reads_the_same(text in "([-\\[\\]=\"'\\\\\n]|[a-z0-9_ .]|\\PC){0,120}") {
            let together: String = Tokens(&text).map(|(_, token)| token).collect();
            prop_assert_eq!(together, text);
        }
    }
}
