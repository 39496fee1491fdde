//! The `scrape` module: text and attributes of a page's elements, found by tag, class or id.
//!
//! Takes pages that a hostile server chose, gives lists of strings or maps. Parsed as browsers do, into a
//! flat tree. Must never recurse on what a page nests. All arguments are loose: never an error but for a
//! page that no browser would show.

mod tree;

use super::super::Ctx;
use super::super::value::{Arg, Args, Fail, HostFn, Module, Ret};
use tree::{Id, ROOT, Tree};

/// The module.
pub const MODULE: Module =
    Module { name: "scrape", functions: FUNCTIONS, lua: Some(include_str!("scrape.lua")) };

const TAG: u8 = 0;
const CLASS: u8 = 1;
const ID: u8 = 2;

const FUNCTIONS: &[(&str, HostFn)] = &[
    ("scrape.find_text_by_tag", find_text::<TAG>),
    ("scrape.find_text_by_class", find_text::<CLASS>),
    ("scrape.find_text_by_id", find_text::<ID>),
    ("scrape.find_attr_by_tag", find_attr::<TAG>),
    ("scrape.find_attr_by_class", find_attr::<CLASS>),
    ("scrape.find_attr_by_id", find_attr::<ID>),
    ("scrape.find_attrs_by_tag", find_attrs::<TAG>),
    ("scrape.find_attrs_by_class", find_attrs::<CLASS>),
    ("scrape.find_attrs_by_id", find_attrs::<ID>),
];

/// `find_text_by_*(html, selector)`: each element's texts, trimmed and joined by a space.
fn find_text<const BY: u8>(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let selector = args.loose_string(2);
    list::<BY>(args, &selector, ret, |tree, id, ret| ret.str(tree.text(id)));
    Ok(())
}

/// `find_attr_by_*(html, attribute, selector)`: that attribute of each element, "" where it is missing.
fn find_attr<const BY: u8>(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let (name, selector) = (args.loose_string(2), args.loose_string(3));
    let name = String::from_utf8_lossy(&name);
    list::<BY>(args, &selector, ret, |tree, id, ret| ret.str(tree.attribute(id, &name)));
    Ok(())
}

/// `find_attrs_by_*(html, count, attribute…, selector)`: those attributes of each element by name.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as wanted")]
fn find_attrs<const BY: u8>(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let count = match args.get(2) {
        Arg::Num(count) => (count as usize).min(args.len()),
        _ => 0,
    };
    let names: Vec<String> =
        (3..3 + count).map(|n| String::from_utf8_lossy(&args.loose_string(n)).into_owned()).collect();
    let selector = args.loose_string(3 + count);
    list::<BY>(args, &selector, ret, |tree, id, ret| {
        ret.begin_table();
        for name in &names {
            ret.str(name);
            ret.str(tree.attribute(id, name));
        }
        ret.end_table();
    });
    Ok(())
}

/// Gives what `each` makes of the matching elements as a list, or `nil, error`.
fn list<const BY: u8>(args: &Args<'_>, selector: &[u8], ret: &mut Ret, each: impl Fn(&Tree, Id, &mut Ret)) {
    let tree = match Tree::parse(&args.loose_string(1)) {
        Ok(tree) => tree,
        Err(error) => return ret.nil_err(error),
    };
    let selector = String::from_utf8_lossy(selector);
    let found = match BY {
        // As in the Go server's library, a tag that HTML does not know stands for the whole page.
        TAG if TAGS.binary_search(&&*selector).is_err() => vec![ROOT],
        TAG => tree.find(|id| tree.tag(id) == Some(&*selector)),
        CLASS => tree.find(|id| tree.attribute(id, "class").split_whitespace().any(|word| word == selector)),
        // And so does the empty id, which is that of everything without one.
        _ => tree.find(|id| tree.attribute(id, "id") == selector),
    };
    ret.begin_table();
    for (number, id) in (1..).zip(found) {
        ret.num(f64::from(number));
        each(&tree, id, ret);
    }
    ret.end_table();
}

/// The tags that HTML knows, in order.
const TAGS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "address",
    "applet",
    "area",
    "article",
    "aside",
    "audio",
    "b",
    "base",
    "basefont",
    "bdi",
    "bdo",
    "bgsound",
    "big",
    "blink",
    "blockquote",
    "body",
    "br",
    "button",
    "canvas",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "command",
    "content",
    "data",
    "datalist",
    "dd",
    "del",
    "desc",
    "details",
    "dfn",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "em",
    "embed",
    "fieldset",
    "figcaption",
    "figure",
    "font",
    "footer",
    "foreignObject",
    "form",
    "frame",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "i",
    "iframe",
    "image",
    "img",
    "input",
    "ins",
    "isindex",
    "kbd",
    "keygen",
    "label",
    "legend",
    "li",
    "link",
    "listing",
    "main",
    "malignmark",
    "map",
    "mark",
    "marquee",
    "math",
    "menu",
    "menuitem",
    "meta",
    "meter",
    "mglyph",
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "nav",
    "nobr",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "ol",
    "optgroup",
    "option",
    "output",
    "p",
    "param",
    "picture",
    "plaintext",
    "pre",
    "progress",
    "prompt",
    "q",
    "rb",
    "rp",
    "rt",
    "rtc",
    "ruby",
    "s",
    "samp",
    "script",
    "section",
    "select",
    "slot",
    "small",
    "source",
    "spacer",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "summary",
    "sup",
    "svg",
    "system",
    "table",
    "tbody",
    "td",
    "template",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "time",
    "title",
    "tr",
    "track",
    "tt",
    "u",
    "ul",
    "var",
    "video",
    "wbr",
    "xmp",
];

#[cfg(test)]
mod tests;
