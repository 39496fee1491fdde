use super::*;
use crate::ingress::pages::Figures;

fn run(name: &str) -> RunLine {
    RunLine {
        subject: "t".to_owned(),
        name: name.to_owned(),
        at: "<at>".to_owned(),
        when: "<when>".to_owned(),
        reason: "script_error",
        took: Some(std::time::Duration::from_micros(1234)),
        invocation: "<invocation>".to_owned(),
        error: "<error>".to_owned(),
        logs: vec!["<logged>".to_owned()],
    }
}

fn script(subject: &str, name: &str, text: &str) -> Rc<Script> {
    let source = Part { name: "<part>".into(), text: text.as_bytes().into() };
    Rc::new(Script {
        tenant: "<tenant>".into(),
        http: true,
        memory: Some(5),
        parts: vec![source.clone(), source.clone()],
        source,
        broken: Some("<broken>".into()),
        unknown: vec![("<key>".into(), "<value>".into())],
        ..Script::for_test(subject, name)
    })
}

fn data(script: &Rc<Script>) -> ScriptData {
    let figures =
        Figures { calls: 3, failures: 1, reasons: vec![("ok", 2), ("memory", 1)], ..Figures::default() };
    ScriptData { script: script.clone(), figures, runs: vec![run(&script.name)] }
}

#[test]
fn nothing_foreign_is_markup() {
    let nasty = "<script>\"'&{{body}}{}";
    let all = PageData {
        scripts: vec![script(nasty, nasty, "</pre><script>alert(1)</script>")],
        rejected: vec!["<rejected>".into()],
    };
    let pages =
        [list(&all, ""), list(&all, nasty), subject(&all, nasty).unwrap(), info(&data(&all.scripts[0]))];
    for page in pages {
        let page = page.as_str();
        for bad in [
            "<script",
            "<tenant",
            "<part",
            "<broken",
            "<key",
            "<value",
            "<rejected",
            "<error",
            "<logged",
            "<at",
            "<when",
            "<invocation",
            "\"'&",
        ] {
            assert!(!page.contains(bad), "{bad} in {page}");
        }
        assert_eq!(page.matches("</html>").count(), 1);
    }
}

#[test]
fn scripts_are_found_by_subject_and_name() {
    let all = PageData {
        scripts: vec![script("b", "x", ""), script("a", "x", "one\ntwo"), script("a", "y", "")],
        rejected: vec![],
    };
    let page = |html: Html| html.as_str().to_owned();
    let listed = page(list(&all, ""));
    assert!(listed.find("/_/info/a/y").unwrap() < listed.find("/_/info/b/x").unwrap());
    assert!(!page(subject(&all, "a").unwrap()).contains("/_/info/b/x"));
    assert_eq!(subject(&all, "c"), None);
    let filtered = page(list(&all, " Y "));
    assert!(
        filtered.contains("/_/info/a/y") && !filtered.contains("/_/info/a/x") && filtered.contains("1 of 3")
    );
    let info = page(info(&data(&all.scripts[1])));
    assert!(info.contains("<span id=\"L1\">one</span>\n<span id=\"L2\">two</span>"), "{info}");
    assert_eq!(info.matches("id=\"L1\"").count(), 1, "only the script's own lines are anchors");
    assert!(info.contains("3 calls since the start, 1 failed (33.33 %)"), "{info}");
}

#[test]
fn an_errors_place_leads_to_its_line() {
    let script = Script::for_test("s", "n");
    let html = placed("n.lua:12: <why>", &script);
    assert_eq!(html.as_str(), "<a href=\"#L12\">n.lua:12</a>: &lt;why&gt;");
    for error in ["other.lua:12: x", "n.lua: x", "n.lua:", "", "n.lua:99999999999: x", "n.lua:+1: x"] {
        assert!(!placed(error, &script).as_str().contains("<a"), "{error}");
    }
}
