//! Markup that is safe by its type.
//!
//! Markup comes from templates in the source (`&'static str`) and nowhere else; every value is escaped when
//! it is put in, unless it is [`Html`] itself. Pure.

use std::fmt::{self, Display, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is not escaped within a path's segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// A template with values in the place of its `{}`. There must be as many values as places.
    #[must_use]
    pub fn of(template: &'static str, values: &[&dyn Show]) -> Html {
        let mut html = Html::default();
        html.put(template, values);
        html
    }

    /// Adds a template with values in the place of its `{}`.
    pub fn put(&mut self, template: &'static str, values: &[&dyn Show]) {
        let mut parts = template.split("{}");
        self.0 += parts.next().unwrap_or_default();
        let mut values = values.iter();
        for part in parts {
            if let Some(value) = values.next() {
                value.show(self);
            }
            self.0 += part;
        }
        debug_assert!(values.next().is_none(), "more values than places: {template}");
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            self.0 += &rest[..at];
            self.0 += match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            };
            rest = &rest[at + 1..];
        }
        self.0 += rest;
    }

    /// Adds what another renderer made; it must have escaped what it was given.
    pub(super) fn rendered(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.0);
    }

    /// As text for the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something that can stand in markup.
pub trait Show {
    /// Adds itself, escaped.
    fn show(&self, html: &mut Html);
}

impl Show for Html {
    fn show(&self, html: &mut Html) {
        html.0 += &self.0;
    }
}

impl<T: Display> Show for T {
    fn show(&self, html: &mut Html) {
        // Writing to it cannot fail.
        let _ = write!(Escaping(html), "{self}");
    }
}

/// Escapes what is written.
struct Escaping<'a>(&'a mut Html);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.text(text);
        Ok(())
    }
}

/// A name as one segment of a path.
pub struct Segment<'a>(pub &'a str);

impl Display for Segment<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A dot alone would be taken for a folder.
        match self.0 {
            "." => formatter.write_str("%2E"),
            ".." => formatter.write_str("%2E%2E"),
            name => utf8_percent_encode(name, SEGMENT).fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_escaped_and_markup_is_not() {
        let inner = Html::of("<b>{}</b>", &[&"<&>\"'"]);
        let html = Html::of("<p title=\"{}\">{}{}</p>", &[&"\"x", &inner, &7]);
        assert_eq!(html.as_str(), "<p title=\"&quot;x\"><b>&lt;&amp;&gt;&quot;&#39;</b>7</p>");
        assert_eq!(Html::of("{}", &[&"{}<"]).as_str(), "{}&lt;", "a value is no template");
    }

    #[test]
    fn links_are_one_segment() {
        assert_eq!(Segment("a/b?c#d%e.").to_string(), "a%2Fb%3Fc%23d%25e.");
        assert_eq!(Segment("..").to_string(), "%2E%2E");
    }

    proptest! {
        #[test]
        fn no_text_is_markup(text in "\\PC{0,200}") {
            let html = Html::of("{}", &[&text]);
            prop_assert!(!html.as_str().contains(['<', '>', '"', '\'']));
            let back = html.as_str().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(back, text);
        }
    }
}
