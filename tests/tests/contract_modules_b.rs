//! The modules `template`, `yaml` and `scrape` as scripts see them: results, failures, hostile input.

use msgscript_tests::harness::{Broker, Setup};

/// Runs its payload and answers `tostring` of all that returns.
const EVAL: &str = r#"
function OnMessage(_, code)
  local results = { (assert(loadstring(code, "=eval")))() }
  for i = 1, 3 do results[i] = results[i] ~= nil and tostring(results[i]) or "nil" end
  return table.concat(results, "|", 1, 2)
end"#;

fn eval_broker() -> Broker {
    Setup::new().workers(1).args(&["--timeout", "20s"]).lua("eval", EVAL).start()
}

/// That each text of Lua code gives what stands beside it.
fn assert_evals(broker: &Broker, cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (code, expected) in cases {
        let response = broker.post("/eval", code);
        let got = if response.status == 200 { response.payload("eval") } else { response.text() };
        if got != *expected {
            wrong.push(format!("{code}\n    expected: {expected}\n    got:      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn template_renders() {
    assert_evals(
        &eval_broker(),
        &[
            (
                "local m = require('template').choose('mustache') return m:render('{{a}} {{&a}} {{n}}', { a = '<', n = 1e6 })",
                "&lt; < 1000000|nil",
            ),
            ("return require('template').choose('jinja')", "nil|unknown template engine: jinja"),
            (
                "return pcall(function() require('template').choose() end)",
                "false|eval:1: bad argument #1 to choose (string expected, got nil)",
            ),
            (
                "local m = require('template').choose('mustache') return pcall(function() m:render('x') end)",
                "false|eval:1: bad argument #3 to render (table expected, got nil)",
            ),
            (
                "local m = require('template').choose('mustache') return m.render(m, '{{#a}}', {})",
                "nil|line 1: Section a has no closing tag",
            ),
            (
                "local m = require('template').choose('mustache') return m:render('', { 1 })",
                "nil|arguments #1 must be a table, but got an array",
            ),
            (
                "local m = require('template').choose('mustache') local c = { n = 1 } c.me = c return m:render('{{#me}}{{#me}}{{n}}{{/me}}{{/me}}', c)",
                "1|nil",
            ),
            (
                "local m = require('template').choose('mustache') local c = {} c.me = c return m:render('{{me}}', c)",
                "nil|context nests too deeply",
            ),
            (
                "local m = require('template').choose('mustache') local f = io.open('p', 'w') f:write('[{{x}}]') f:close() return m:render('{{> p}}', { x = 1 })",
                "[1]|nil",
            ),
            (
                "local m = require('template').choose('mustache') return m:render_file('none', {})",
                "nil|open none: no such file or directory",
            ),
            ("require('template') return type(template_ud)", "table|nil"),
            ("return type(template_ud)", "nil|nil"),
        ],
    );
}

#[test]
fn yaml_reads_and_writes() {
    assert_evals(
        &eval_broker(),
        &[
            ("return require('yaml').decode('a: [1, yes, 010]').a[3]", "8|nil"),
            ("return require('yaml').decode('{1: x, 2: z}')[2]", "z|nil"),
            (
                "local n = 0 for _ in pairs(require('yaml').decode('{1: x, 2: z}')) do n = n + 1 end return n",
                "2|nil",
            ),
            ("return require('yaml').decode('a: *b')", "nil|yaml: unknown anchor 'b' referenced"),
            (
                "return require('yaml').encode({ b = { 1, {} }, a = 'yes' })",
                "a: \"yes\"\nb:\n- 1\n- []\n|nil",
            ),
            ("return require('yaml').encode({ print })", "nil|cannot encode values with function in them"),
            ("local t = {} return require('yaml').encode({ t, t })", "nil|nested table table: 0x00000000"),
            ("return pcall(require('yaml').encode)", "false|bad argument #1 to encode (value expected)"),
            (
                "local w = { text = '', write = function(self, s) self.text = self.text .. s end } local e = require('yaml').new_encoder(w) e:encode({ 1 }) e:encode('x') return w.text",
                "- 1\n--- x\n|nil",
            ),
            (
                "local f = io.open('y', 'w') f:write('a: 1\\na: 2\\n---\\nb\\n') f:close() local d = require('yaml').new_decoder(io.open('y')) d:set_strict(true) local _, problem = d:decode() return problem, d:decode()",
                "yaml: unmarshal errors:\n  line 2: key \"a\" already set in map|b",
            ),
            ("local d = require('yaml').new_decoder({ read = function() end }) return d:decode()", "nil|EOF"),
            (
                "return pcall(function() require('yaml').new_decoder(5) end)",
                "false|eval:1: bad argument #1 to new_decoder (expected reader)",
            ),
            (
                "return pcall(function() require('yaml').new_encoder({}) end)",
                "false|eval:1: bad argument #1 to new_encoder (expected writer)",
            ),
            ("require('yaml') return type(_G['yaml.Decoder']), type(_G['yaml.Encoder'])", "table|table"),
        ],
    );
}

#[test]
fn scrape_finds() {
    let page =
        "local s = require('scrape') local page = '<p class=\"a b\" id=i title=t>x <b>y</b></p><p>z</p>'";
    let cases = [
        ("local r = s.find_text_by_tag(page, 'p') return #r, r[1] .. ',' .. r[2]", "2|x y,z"),
        ("return s.find_text_by_class(page, 'b')[1]", "x y|nil"),
        ("return s.find_attr_by_id(page, 'title', 'i')[1], s.find_attr_by_tag(page, 'title', 'p')[2]", "t|"),
        ("local m = s.find_attrs_by_tag(page, 2, 'id', 'title', 'p')[1] return m.id .. m.title, #m", "it|2"),
        (
            "local o = '' for i, v in s.find_text_by_tag(page, 'p')() do o = o .. i .. v end return o",
            "1x y2z|nil",
        ),
        (
            "local o = 0 for k, v in s.find_attrs_by_tag(page, 1, 'id', 'p')[1]() do o = k .. v end return o",
            "idi|nil",
        ),
        ("return select('#', s.find_text_by_tag(page, 'p')), s.find_text_by_tag(page, 'p')[9]", "2|nil"),
        ("return s.find_text_by_tag(nil, 'p')[1]", "nil|nil"),
    ];
    let broker = eval_broker();
    for (code, expected) in cases {
        assert_evals(&broker, &[(&format!("{page} {code}"), expected)]);
    }
}

#[test]
fn hostile_input_ends_and_the_worker_goes_on() {
    let broker = eval_broker();
    assert_evals(
        &broker,
        &[
            (
                "local m = require('template').choose('mustache') return m:render(('{{#a}}'):rep(1e5) .. ('{{/a}}'):rep(1e5), { a = 1 })",
                "|nil",
            ),
            (
                "local f = io.open('p', 'w') f:write('{{> p}}') f:close() return require('template').choose('mustache'):render('{{> p}}', {})",
                "nil|partials include each other too deeply",
            ),
            ("local _, e = require('yaml').decode(('['):rep(1e5)) return e:sub(1, 5)", "yaml:|nil"),
            ("local _, e = require('yaml').decode(('- '):rep(1e5)) return e:sub(1, 5)", "yaml:|nil"),
            (
                "local y = 'a0: &a0 [x,x,x,x,x,x,x,x,x,x]\\n' for i = 1, 9 do y = y .. ('a%d: &a%d [%s]\\n'):format(i, i, ('*a%d, '):format(i - 1):rep(10)) end return require('yaml').decode(y)",
                "nil|yaml: document contains excessive aliasing",
            ),
            (
                "return require('scrape').find_text_by_tag(('<b>'):rep(1e5), 'p')",
                "nil|html: elements nest too deeply",
            ),
            (
                "local t = {} for i = 1, 1e6 do t[i] = ' a' .. i end return require('scrape').find_text_by_tag('<p' .. table.concat(t), 'p')",
                "nil|html: a tag has too many attributes",
            ),
        ],
    );
    let response = broker.post(
        "/eval",
        "local m = require('template').choose('mustache') return m:render('{{#l}}{{#l}}{{#l}}{{x}}{{/l}}{{/l}}{{/l}}', { l = { [4e7] = 1 }, x = ('x'):rep(1000) })",
    );
    assert_eq!(response.header("msgscript-reason"), Some("memory"), "{}", response.text());
    assert_evals(&broker, &[("return 1", "1|nil")]);
}

#[test]
fn examples_answer() {
    let example = |name: &str| {
        std::fs::read(format!("{}/../examples/modules/{name}.lua", env!("CARGO_MANIFEST_DIR")))
            .expect("an example")
    };
    let setup = ["template", "yaml", "scrape"]
        .into_iter()
        .fold(Setup::new().workers(1), |setup, name| setup.file(&format!("{name}.lua"), example(name)));
    let broker = setup.start();
    let answer = |name: &str, payload: &str| broker.post(&format!("/example.{name}"), payload).payload(name);
    assert_eq!(
        answer("template", r#"{"name":"Ann","items":[{"what":"tea","count":2},{"what":"<cake>"}]}"#),
        "Dear Ann,\n  - tea (2)\n  - &lt;cake&gt;\n"
    );
    assert_eq!(answer("yaml", "name: Ann\n---\n- yes\n"), "count: 2\ndocuments:\n- name: Ann\n- - true\n");
    assert_eq!(
        answer("yaml", "a: 1\na: 2\n"),
        "error: |-\n  yaml: unmarshal errors:\n    line 2: key \"a\" already set in map\n"
    );
    assert_eq!(
        answer("scrape", r#"<h1>Tea</h1><a href="/buy" title="Buy">now</a><b class="price">3 EUR</b>"#),
        r#"{"links":["/buy Buy"],"prices":["3 EUR"],"title":"Tea"}"#
    );
}
