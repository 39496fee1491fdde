//! What all pages have around them.

use super::html::{Html, Show};

/// Where a page belongs, for the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere below.
    Home,
    /// What the server does just now.
    Overview,
    /// The scripts.
    Scripts,
    /// The documentation.
    Documentation,
}

const NAVIGATION: [(Place, &str, &str); 3] = [
    (Place::Overview, "/_/", "Overview"),
    (Place::Scripts, "/_/list", "Scripts"),
    (Place::Documentation, "/_/docs", "Documentation"),
];

/// A page.
#[must_use]
pub fn page(place: Place, title: &dyn Show, body: &Html) -> Html {
    whole(place, title, &Html::default(), body)
}

/// A page whose changing parts are renewed by a script of ours, which bears this key; without scripts the page
/// is loaded again now and then, unless it is to stay as it is.
#[must_use]
pub fn live_page(place: Place, title: &dyn Show, key: &str, still: bool, body: &Html) -> Html {
    if still {
        let note = "<p class=\"quiet\">This page stays as it is. <a href=\"?\">Keep it current</a></p>";
        let body = Html::of("{}{}", &[&Html::of(note, &[]), body]);
        return page(place, title, &body);
    }
    let head = Html::of(
        "<script src=\"/_/live.js\" defer></script>\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>",
        &[],
    );
    let body = Html::of(
        "<div class=\"live\" id=\"live\" data-key=\"{}\"><noscript><p class=\"quiet\">This page is loaded again \
         every 5 seconds. <a href=\"?still\">Stop that</a></p></noscript></div>{}",
        &[&key, body],
    );
    whole(place, title, &head, &body)
}

fn whole(place: Place, title: &dyn Show, head: &Html, body: &Html) -> Html {
    let mut page = Html::of(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} · msgscript</title>\n\
         <link rel=\"icon\" href=\"/favicon.ico\">\n<link rel=\"stylesheet\" href=\"/_/style.css\">\n{}</head>\n\
         <body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
         <header><a class=\"brand\" href=\"/\"><img src=\"/logo.webp\" width=\"28\" height=\"28\" alt=\"\">\
         msgscript</a>\n<nav aria-label=\"Pages\">",
        &[title, head],
    );
    for (of, link, name) in NAVIGATION {
        let template = match of == place {
            true => "<a href=\"{}\" aria-current=\"page\">{}</a>",
            false => "<a href=\"{}\">{}</a>",
        };
        page.put(template, &[&link, &name]);
    }
    page.put("</nav></header>\n<main id=\"main\">\n{}\n</main>\n</body>\n</html>\n", &[body]);
    page
}
