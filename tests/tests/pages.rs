//! The operator's pages in a real browser: figures that move, markup that stays text, keyboard, phone, no
//! scripts, and pages of functions that would like to look at them.

use std::time::Duration;

use msgscript_tests::browser::{Browser, Page};
use msgscript_tests::harness::{Broker, Setup};

/// A script whose every text is markup.
const NASTY: &str = "--* subject: nasty\n--* name: <img src=x onerror=\"window.pwned=1\">\n\
    -- </code></pre><script>window.pwned = 1</script>\n\
    function OnMessage(_, text)\n  print('<script>window.pwned = 1</script>')\n\
    error('<img src=x onerror=window.pwned=1>' .. text)\nend\n";

fn broker() -> Broker {
    Setup::new()
        .lua("hello", "function OnMessage(_, name) return 'hello ' .. name end")
        .file("nasty.lua", NASTY)
        .file("bad.lua", "--* subject: bad\n--* name: <b>bad</b>\nfunction (\n")
        .start()
}

fn url(broker: &Broker, path: &str) -> String {
    format!("http://{}{path}", broker.http())
}

/// The number of all calls, as the overview shows it.
fn calls(page: &Page<'_>) -> String {
    page.text("#tiles .tile .quiet")
}

#[test]
fn figures_move_until_somebody_pauses_them() {
    let (broker, browser) = (broker(), Browser::start());
    let page = browser.page();
    page.open(&url(&broker, "/_/"));
    assert_eq!(calls(&page), "0 in all");
    page.eval("window.same = true");
    for _ in 0..3 {
        assert_eq!(broker.call("hello", "you"), "hello you");
    }
    assert_eq!(broker.post("/nasty", "<b>").status, 500);
    page.wait_for(
        "the figure moves",
        "document.querySelector('#tiles .tile .quiet').innerText === '4 in all'",
    );
    page.wait_for(
        "the failure shows",
        "document.getElementById('reasons').innerText.includes('script_error')",
    );
    assert!(page.text("#busiest").contains("hello") && page.text("#latest").contains("nasty.lua:6:"));
    assert_eq!(page.eval("window.same"), true, "the page was not loaded again");

    // With the keyboard alone: first what skips the navigation, then that, then the button.
    page.eval("document.activeElement.blur()");
    page.press("Tab");
    assert_eq!(page.eval("document.activeElement.className"), "skip");
    let mut passed = Vec::new();
    while page.eval("document.activeElement.tagName") != "BUTTON" {
        page.press("Tab");
        passed.push(page.eval("document.activeElement.innerText"));
        assert!(passed.len() < 10, "{passed:?}");
    }
    assert!(passed.iter().any(|link| link == "Scripts"), "{passed:?}");
    page.press(" ");
    assert_eq!((page.text("#live button"), page.text("#live span")), ("Resume".into(), "paused".into()));
    // One that was under way may still come.
    std::thread::sleep(Duration::from_millis(500));
    let before = calls(&page);
    assert_eq!(broker.call("hello", "you"), "hello you");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(calls(&page), before);
    page.press("Enter");
    page.wait_for("it moves again", "document.querySelector('#tiles .tile .quiet').innerText === '5 in all'");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn without_scripts_the_page_is_loaded_again() {
    let (broker, browser) = (broker(), Browser::start());
    let page = browser.page();
    page.without_scripts();
    page.open(&url(&broker, "/_/"));
    assert!(page.text("#live").contains("loaded again"));
    assert_eq!(broker.call("hello", "you"), "hello you");
    page.wait_for(
        "the figure moves",
        "document.querySelector('#tiles .tile .quiet')?.innerText === '1 in all'",
    );
    page.open(&url(&broker, "/_/?still"));
    assert_eq!(page.eval("document.querySelector('meta[http-equiv]')"), serde_json::Value::Null);
}

#[test]
fn markup_in_scripts_is_text() {
    let (broker, browser) = (broker(), Browser::start());
    assert_eq!(broker.post("/nasty", "<script>window.pwned=1</script>").status, 500);
    let page = browser.page();
    let info = "/_/info/nasty/%3Cimg%20src%3Dx%20onerror%3D%22window.pwned%3D1%22%3E";
    for path in [
        info,
        "/_/subject/nasty",
        "/_/list",
        "/_/list?q=%22%3E%3Cscript%3Ewindow.pwned=1%3C/script%3E",
        "/_/?still",
    ] {
        page.open(&url(&broker, path));
        assert_eq!(
            page.eval("document.scripts.length + '' + document.images.length"),
            "01",
            "{path}: our logo only"
        );
        assert_eq!(page.eval("window.pwned === undefined"), true, "{path}");
    }
    page.open(&url(&broker, info));
    let source = page.text(".source");
    assert!(source.contains("-- </code></pre><script>window.pwned = 1</script>"), "{source}");
    let main = page.text("main");
    for text in
        ["<img src=x onerror=window.pwned=1><script>", "<script>window.pwned = 1</script>", "script_error"]
    {
        assert!(main.contains(text), "{text} in {main}");
    }
    // An error's place leads to its line.
    page.eval("document.querySelector('.runs a').click()");
    assert!(page.text(":target").starts_with("error('"), "{}", page.text(":target"));
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn every_page_fits_a_phone_and_breaks_no_rule_of_its_own() {
    let (broker, browser) = (broker(), Browser::start());
    assert_eq!(broker.post("/nasty", "x".repeat(300)).status, 500);
    let page = browser.page();
    page.as_phone();
    for path in [
        "/",
        "/_/",
        "/_/list",
        "/_/subject/nasty",
        "/_/info/hello/hello",
        "/_/docs",
        "/_/docs/THREATS",
        "/_/docs/MIGRATION",
        "/_/info/nasty/%3Cimg%20src%3Dx%20onerror%3D%22window.pwned%3D1%22%3E",
    ] {
        page.open(&url(&broker, path));
        let width = page.eval("document.documentElement.scrollWidth");
        assert!(width.as_u64().is_some_and(|width| width <= 360), "{path} is {width} wide");
        assert_eq!(page.eval("document.querySelectorAll('h1').length"), 1, "{path}");
        let nameless = "[...document.querySelectorAll('a, button, input, meter, svg')].filter(it => \
            !(it.innerText || it.ariaLabel || it.labels?.length || it.textContent)).length";
        assert_eq!(page.eval(nameless), 0, "{path}: everything has a name");
    }
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn pages_of_functions_do_not_see_those_of_the_operator() {
    let spy = "function GET(url) if url == '/sw.js' then return 'self.onfetch = () => {}', 200, \
        {['Content-Type'] = 'text/javascript', ['Service-Worker-Allowed'] = '/'} end \
        return '<title>wait</title><iframe src=/_/list></iframe><script>(async () => { \
        const got = await fetch(\"/_/list\"); \
        const worker = await navigator.serviceWorker.register(\"/spy/sw.js\", {scope: \"/\"}).then(() => \"yes\", () => \"no\"); \
        const frame = document.querySelector(\"iframe\"); let inside; \
        try { inside = frame.contentDocument.body.innerText } catch { inside = \"closed\" } \
        document.title = [got.status, worker, inside.includes(\"hello\") ? \"seen\" : \"not\"].join(\" \") })(); \
        async function look() { const other = open(\"/_/list\"); if (!other) return \"none\"; await new Promise(done => setTimeout(done, 1500)); \
        try { return other.document.body.innerText.includes(\"hello\") ? \"seen\" : \"blank\" } catch { return \"closed\" } }</script>' end";
    let broker = Setup::new()
        .lua("hello", "function OnMessage() return '' end")
        .http_script("spy", "spy", spy)
        .start();
    let browser = Browser::start();
    let page = browser.page();
    page.open(&url(&broker, "/spy"));
    page.wait_for("the spy is done", "document.title !== 'wait'");
    assert_eq!(page.eval("document.title"), "403 no not");
    assert_eq!(page.eval("look()"), "closed", "a window that it opens is cut off from it");
}
