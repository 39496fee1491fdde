use proptest::prelude::*;

use super::super::super::Ctx;
use super::super::super::testing::{Value, array, call, message, text};
use super::{render, render_file};

fn table(entries: &[(&str, Value)]) -> Value {
    Value::Table(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

/// The text, or the error behind `nil`.
fn rendered(ctx: &mut Ctx, template: &str, context: Value) -> Result<String, String> {
    let results = call(render, ctx, &[table(&[]), template.into(), context]).unwrap();
    match results.as_slice() {
        [Value::Nil, error] => Err(text(std::slice::from_ref(error))),
        _ => Ok(text(&results)),
    }
}

fn plain(template: &str, context: &[(&str, Value)]) -> String {
    rendered(&mut Ctx::default(), template, table(context)).unwrap()
}

fn failing(template: &str) -> String {
    rendered(&mut Ctx::default(), template, table(&[])).unwrap_err()
}

fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Num(number.as_f64().unwrap()),
        serde_json::Value::String(text) => text.as_str().into(),
        // Lua has no empty list: `{}` is a map, and true. Scripts say false.
        serde_json::Value::Array(items) if items.is_empty() => false.into(),
        serde_json::Value::Array(items) => array(items.iter().map(from_json)),
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (key.as_str().into(), from_json(value)));
            Value::Table(members.filter(|(_, value)| *value != Value::Nil).collect())
        }
    }
}

#[test]
fn the_specification_holds() {
    let files = [
        include_str!("spec/comments.json"),
        include_str!("spec/delimiters.json"),
        include_str!("spec/interpolation.json"),
        include_str!("spec/inverted.json"),
        include_str!("spec/partials.json"),
        include_str!("spec/sections.json"),
    ];
    let (mut wrong, mut count) = (Vec::new(), 0);
    for file in files {
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        for case in file["tests"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let mut ctx = Ctx::default();
            if let Some(partials) = case["partials"].as_object() {
                for (name, partial) in partials {
                    ctx.scratch.write_file(name.as_bytes(), partial.as_str().unwrap().as_bytes()).unwrap();
                }
            }
            let got =
                rendered(&mut ctx, case["template"].as_str().unwrap(), from_json(&case["data"])).unwrap();
            // Go escapes a quote by its number.
            let expected = case["expected"].as_str().unwrap().replace("&quot;", "&#34;");
            count += 1;
            if got != expected {
                wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} cases");
}

#[test]
fn variables_are_escaped_and_numbers_are_in_full() {
    let all = "&<>\"'/`=";
    assert_eq!(plain("{{x}}", &[("x", all.into())]), "&amp;&lt;&gt;&#34;&#39;/`=");
    assert_eq!(plain("{{{x}}}{{&x}}{{& x }}", &[("x", all.into())]), all.repeat(3));
    for (number, printed) in [(1e6, "1000000"), (999_999.0, "999999"), (1.5, "1.5"), (1e-5, "1e-05")] {
        assert_eq!(plain("{{x}}", &[("x", number.into())]), printed);
    }
    assert_eq!(plain("{{x}}|{{y}}|{{missing}}", &[("x", true.into()), ("y", false.into())]), "true|false|");
    assert_eq!(plain("{{x}}", &[("x", Value::Other("function"))]), "function: 0x00000000");
    let inner = table(&[("b", 1.0.into()), ("a", array([1.0.into(), "<".into()]))]);
    assert_eq!(plain("{{x}} {{{x}}}", &[("x", inner)]), "map[a:[1 &lt;] b:1] map[a:[1 <] b:1]");
}

#[test]
fn names_are_looked_up_outwards_and_dotted_ones_only_inwards() {
    let deep = table(&[("b", table(&[("c", "deep".into())]))]);
    let context = [("a", deep), ("l", array(["x".into()])), ("o", "outer".into())];
    assert_eq!(plain("{{a.b.c}}|{{l.0}}|{{l.1}}|{{a.o}}", &context), "deep|||");
    assert_eq!(plain("{{#a}}{{#b}}{{c}} {{o}}{{/b}}{{/a}}", &context), "deep outer");
}

#[test]
fn sections_have_the_go_engines_notion_of_truth() {
    let falsy = [("f", false.into()), ("e", "".into()), ("s", "  ".into())];
    assert_eq!(plain("{{#f}}1{{/f}}{{#e}}2{{/e}}{{#s}}3{{/s}}{{#m}}4{{/m}}", &falsy), "");
    assert_eq!(plain("{{^f}}1{{/f}}{{^e}}2{{/e}}{{^s}}3{{/s}}{{^m}}4{{/m}}", &falsy), "1234");
    let truthy = [("z", 0.0.into()), ("t", table(&[])), ("f", Value::Other("function"))];
    assert_eq!(plain("{{#z}}1{{/z}}{{#t}}2{{/t}}{{#f}}3{{/f}}", &truthy), "123");
    assert_eq!(plain("{{^z}}1{{/z}}{{^t}}2{{/t}}{{^f}}3{{/f}}", &truthy), "");
    assert_eq!(plain("{{#s}}{{.}}{{/s}}", &[("s", "x".into())]), "map[s:x]");
    let nested = array([array([1.0.into(), 2.0.into()]), array([3.0.into()])]);
    assert_eq!(plain("{{#l}}({{#.}}{{.}},{{/.}}){{/l}}", &[("l", nested)]), "(1,2,)(3,)");
}

#[test]
fn lists_keep_their_holes_and_lose_their_names() {
    let list = Value::Table(vec![
        ("name".into(), "dropped".into()),
        (3.0.into(), "c".into()),
        (1.0.into(), "a".into()),
    ]);
    let context = [("l", list)];
    assert_eq!(plain("{{#l}}[{{.}}{{name}}]{{/l}}", &context), "[a][&lt;nil&gt;][c]");
    assert_eq!(plain("{{#l}}{{^.}}hole{{/.}}{{/l}}", &context), "hole");
    let odd =
        Value::Table(vec![(true.into(), 1.0.into()), (1.5.into(), 2.0.into()), (0.0.into(), 3.0.into())]);
    assert_eq!(plain("{{x}}{{x.true}}", &[("x", odd)]), "map[0:3 1.5:2 true:1]1");
}

#[test]
fn errors_tell_the_line() {
    for (template, error) in [
        ("{{#a}}", "line 1: Section a has no closing tag"),
        ("x\n{{#a}}\n{{#b}}\n{{/b}}", "line 3: Section a has no closing tag"),
        ("{{a", "line 1: unmatched open tag"),
        ("\n{{{a}}", "line 2: unmatched open tag"),
        ("{{#a}}{{/b}}", "line 1: interleaved closing tag: b"),
        ("\n\n{{/a}}x", "line 3: unmatched close tag"),
        ("{{ }}", "line 1: empty tag"),
        ("{{=x}}", "line 1: Invalid meta tag"),
        ("{{=}}", "line 1: Invalid meta tag"),
    ] {
        assert_eq!(failing(template), error, "{template:?}");
    }
    let error = rendered(&mut Ctx::default(), "", array([1.0.into()])).unwrap_err();
    assert_eq!(error, "arguments #1 must be a table, but got an array");
    let error = rendered(&mut Ctx::default(), "", Value::Table(vec![(2.0.into(), true.into())]));
    assert!(error.is_err());
}

#[test]
fn wrong_arguments_raise() {
    let mut ctx = Ctx::default();
    let this = table(&[]);
    assert_eq!(
        message(call(render, &mut ctx, &[this.clone(), "x".into()])),
        "bad argument #3 to f (table expected, got nil)"
    );
    assert_eq!(
        message(call(render, &mut ctx, &[this.clone(), Value::Nil, this.clone()])),
        "bad argument #2 to f (string expected, got nil)"
    );
    assert_eq!(
        message(call(render, &mut ctx, &["x".into(), "x".into(), this])),
        "bad argument #1 to f (userdata expected, got string)"
    );
}

#[test]
fn files_are_templates_and_partials() {
    let mut ctx = Ctx::default();
    ctx.scratch.write_file(b"page", b"<{{> one}}{{> two}}{{> three}}{{> none}}>").unwrap();
    ctx.scratch.write_file(b"one", b"1{{x}}").unwrap();
    ctx.scratch.write_file(b"two.mustache", b"2{{x}}").unwrap();
    ctx.scratch.write_file(b"three.stache", b"3{{x}}").unwrap();
    let context = table(&[("x", "!".into())]);
    let page = call(render_file, &mut ctx, &[table(&[]), "page".into(), context.clone()]).unwrap();
    assert_eq!(text(&page), "<1!2!3!>");
    let missing = call(render_file, &mut ctx, &[table(&[]), "none".into(), context.clone()]).unwrap();
    assert_eq!(missing, [Value::Nil, "open none: no such file or directory".into()]);
    ctx.scratch.write_file(b"broken", b"a{{#x}}").unwrap();
    assert_eq!(
        rendered(&mut ctx, "{{> broken}}", context.clone()),
        Err("line 1: Section x has no closing tag".into())
    );
    assert_eq!(rendered(&mut ctx, "{{#x}}[{{> broken}}]{{/x}}", context), Ok("[]".into()));
}

#[test]
fn hostile_templates_end() {
    let mut ctx = Ctx::default();
    let deep = "{{#a}}".repeat(100_000) + &"{{/a}}".repeat(100_000);
    assert_eq!(rendered(&mut ctx, &deep, table(&[("a", 1.0.into())])), Ok(String::new()));
    assert!(rendered(&mut ctx, &"{{#a}}".repeat(100_000), table(&[])).is_err());
    ctx.scratch.write_file(b"self", b"x{{> self}}").unwrap();
    assert_eq!(
        rendered(&mut ctx, "{{> self}}", table(&[])),
        Err("partials include each other too deeply".into())
    );
    // The root within itself: the glue names it by where it begins.
    let looped = Value::Table(vec![("me".into(), Value::Seen)]);
    assert!(rendered(&mut ctx, "{{me}}", looped).is_ok_and(|text| text.is_empty() || text == "&lt;nil&gt;"));
    ctx.memory_limit = 1000;
    let long = "{{#a}}".to_owned() + &"y".repeat(2000) + "{{/a}}";
    let out = call(render, &mut ctx, &[table(&[]), long.as_str().into(), table(&[("a", true.into())])]);
    assert!(matches!(out, Err(super::Fail::Memory)));
    let hole = Value::Table(vec![(60_000_000.0.into(), 1.0.into())]);
    let out = call(render, &mut ctx, &[table(&[]), "{{#l}}x{{/l}}".into(), table(&[("l", hole)])]);
    assert!(matches!(out, Err(super::Fail::Memory)));
}

proptest! {
    #[test]
    fn any_text_ends(template in "[{}#^/>!=&a. \n]{0,60}", name in "[a.]{0,4}") {
        let _ = rendered(&mut Ctx::default(), &template, table(&[("a", table(&[(&name, "v".into())]))]));
    }

    #[test]
    fn text_without_tags_stays(template in "[^{]{0,60}") {
        prop_assert_eq!(rendered(&mut Ctx::default(), &template, table(&[])), Ok(template));
    }
}
