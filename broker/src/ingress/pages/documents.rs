//! The documentation: what is in the repository, as pages.
//!
//! Raw HTML in it is shown as text; links lead to other documents or to the web.

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::highlight;
use super::html::{Html, Segment};

/// A document.
pub struct Document {
    /// Its name in links.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    text: &'static str,
}

/// All of them.
pub const ALL: [Document; 5] = [
    Document { name: "README", title: "Guide", text: include_str!("../../../../README.md") },
    Document { name: "MIGRATION", title: "Migration", text: include_str!("../../../../docs/MIGRATION.md") },
    Document { name: "DESIGN", title: "Design", text: include_str!("../../../../docs/DESIGN.md") },
    Document { name: "THREATS", title: "Threats", text: include_str!("../../../../docs/THREATS.md") },
    Document { name: "PROTOCOL", title: "Protocol", text: include_str!("../../../../docs/PROTOCOL.md") },
];

/// The document of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Document> {
    ALL.iter().find(|document| document.name == name)
}

impl Document {
    /// Its contents and its text.
    #[must_use]
    pub fn render(&self) -> Html {
        render(self.text)
    }

    /// Its sections: anchor and title.
    #[must_use]
    pub fn sections(&self) -> Vec<(String, String)> {
        let sections = headings(self.text).into_iter().filter(|(level, _)| *level == HeadingLevel::H2);
        sections.map(|(_, title)| (anchor(&title), title)).collect()
    }
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// The headings, in order.
fn headings(text: &str) -> Vec<(HeadingLevel, String)> {
    let mut found: Vec<(HeadingLevel, String)> = Vec::new();
    let mut open = false;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                found.push((level, String::new()));
                open = true;
            }
            Event::End(TagEnd::Heading(_)) => open = false,
            Event::Text(text) | Event::Code(text) if open => {
                found.last_mut().into_iter().for_each(|(_, title)| title.push_str(&text));
            }
            _ => {}
        }
    }
    found
}

/// A heading's anchor, as code forges make them.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn render(text: &str) -> Html {
    let mut titles = headings(text).into_iter();
    let mut code: Option<String> = None;
    let events = parser(text).filter_map(|event| match event {
        Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
            let id = titles.next().map(|(_, title)| anchor(&title).into());
            Some(Event::Start(Tag::Heading { level, id, classes, attrs }))
        }
        // Alignment would be a style within the page, which its policy forbids.
        Event::Start(Tag::Table(columns)) => {
            Some(Event::Start(Tag::Table(vec![pulldown_cmark::Alignment::None; columns.len()])))
        }
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if &*language == "lua" => {
            code = Some(String::new());
            None
        }
        Event::Text(text) if code.is_some() => {
            code.iter_mut().for_each(|code| code.push_str(&text));
            None
        }
        Event::End(TagEnd::CodeBlock) if code.is_some() => {
            let lua = highlight::snippet(&code.take().unwrap_or_default());
            let html = Html::of("<pre tabindex=\"0\"><code>{}</code></pre>", &[&lua]);
            Some(Event::Html(html.as_str().to_owned().into()))
        }
        Event::Start(Tag::CodeBlock(_)) => Some(Event::Html("<pre tabindex=\"0\"><code>".into())),
        Event::End(TagEnd::CodeBlock) => Some(Event::Html("</code></pre>".into())),
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Some(Event::Start(Tag::Link { link_type, dest_url: target(&dest_url), title, id }))
        }
        event => Some(event),
    });
    let mut html = Html::default();
    html.rendered(|out| pulldown_cmark::html::push_html(out, events));
    html
}

/// Where a link leads. What is not a page here, nor on the web, leads to the top.
fn target(to: &str) -> CowStr<'static> {
    if to.starts_with("https://") || to.starts_with("http://") || to.starts_with('#') {
        return to.to_owned().into();
    }
    let (path, place) =
        to.split_once('#').map_or((to, String::new()), |(path, place)| (path, format!("#{place}")));
    let name = path.rsplit('/').next().and_then(|file| file.strip_suffix(".md")).unwrap_or_default();
    match by_name(name) {
        Some(document) => format!("/_/docs/{}{place}", Segment(document.name)).into(),
        None => "#".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_html_is_text() {
        let html = render(
            "a <script>alert(1)</script>\n\n<div onclick=x>\n\n![x](http://e/x.png) [j](javascript:x)\n",
        );
        let html = html.as_str();
        assert!(!html.contains("<script") && !html.contains("<div") && !html.contains("<img"), "{html}");
        assert!(html.contains("&lt;script&gt;") && html.contains("<a href=\"#\">j</a>"), "{html}");
    }

    #[test]
    fn code_headings_and_links() {
        let html = render(
            "## A *b* `c`\n\n[d](docs/DESIGN.md#x)\n\n```lua\nlocal x = \"<\"\n```\n\n```sh\na <b\n```\n\n|a|b|\n|:-|-:|\n|1|2|\n",
        );
        let html = html.as_str();
        for part in [
            "<h2 id=\"a-b-c\">",
            "href=\"/_/docs/DESIGN#x\"",
            "<b>local</b> x = <i class=\"s\">&quot;&lt;&quot;</i>",
            "a &lt;b\n</code></pre>",
            "<th>a</th>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("style="));
    }

    #[test]
    fn links_between_the_documents_lead_somewhere() {
        for document in &ALL {
            let html = document.render();
            for link in html.as_str().split("href=\"").skip(1) {
                let link = &link[..link.find('"').unwrap()];
                let Some((name, place)) = link.strip_prefix("/_/docs/").and_then(|rest| rest.split_once('#'))
                else {
                    continue;
                };
                let there = by_name(name).unwrap().render();
                assert!(there.as_str().contains(&format!("id=\"{place}\"")), "{link} in {}", document.name);
            }
            assert!(!html.as_str().contains("style="), "{}", document.name);
        }
    }
}
