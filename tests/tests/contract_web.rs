//! Scripts written for the Go server's `web` library answer over HTTP, with and without an `http` header.

use msgscript_tests::harness::{Broker, Setup};

fn example(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../examples/{path}", env!("CARGO_MANIFEST_DIR"))).expect("an example")
}

fn with_web() -> Setup {
    Setup::new().workers(1).library("web.lua", &example("libs/web.lua"))
}

const ROUTES: &str = r#"
local router = Router.new(LAYOUT)
router:get("/", function(req) return "<p>{{x}}{{& x}}</p>", { x = "<" } end)
router:get("/json", function(req) return nil, { q = req:query("q"), all = req:query() } end)
router:get("/empty", function(req) return "" end)
router:get("/users/<id>", function(req) return "{{id}}", { id = req:path("id") }, 201, { no_template = true } end)
router:get("/users/<id>/posts/<post>", function(req)
  return "{{id}}/{{post}}", req:path(), nil, { no_template = true, headers = { ["X-One"] = "1", ["Content-Type"] = "text/plain" } }
end)
router:get("/page", function(req) return "body", {}, 200, { header = "<i>h</i>", footer = "f" } end)
router:get("/away", function(req) return nil, nil, nil, { redirect = "/there" } end)
router:get("/broken", function(req) return "{{#a}}" end)
router:post("/form", function(req, payload) return nil, { name = req.form.name, payload = payload } end)
for _, method in ipairs({ "put", "patch", "delete", "options", "head" }) do
  router[method](router, "/any", function(req) return method, {}, 200, { no_template = true } end)
end
"#;

fn web_broker(header: &str) -> Broker {
    with_web().script("site", "site", &format!("--* require: web\n{header}\n{ROUTES}")).start()
}

fn assert_site_answers(broker: &Broker) {
    let page = |body: &str| {
        format!("<html>\n  <head>\n    \n  </head>\n  <body>\n    {body}\n    \n  </body>\n</html>\n")
    };
    for url in ["/site", "/site/"] {
        let response = broker.get(url);
        assert_eq!((response.status, response.text()), (200, page("<p>&lt;<</p>")), "{url}");
        assert_eq!(response.header("content-type"), Some("text/html"));
    }
    let json = broker.get("/site/json?q=1&r=2");
    assert_eq!((json.status, json.text()), (200, r#"{"all":{"q":"1","r":"2"},"q":"1"}"#.into()));
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(broker.get("/site/empty").text(), "[]");
    let user = broker.get("/site/users/7");
    assert_eq!((user.status, user.text()), (201, "7".into()));
    let post = broker.get("/site/users/7/posts/x");
    assert_eq!((post.status, post.text(), post.header("x-one")), (200, "7/x".into(), Some("1")));
    assert_eq!(post.header("content-type"), Some("text/plain"));
    assert_eq!(
        broker.get("/site/page").text(),
        "<html>\n  <head>\n    <i>h</i>\n  </head>\n  <body>\n    body\n    f\n  </body>\n</html>\n"
    );
    let away = broker.get("/site/away");
    assert_eq!((away.status, away.header("location")), (302, Some("/there")));
    // A template that cannot be rendered leaves the body empty.
    assert_eq!((broker.get("/site/broken").status, broker.get("/site/broken").text()), (200, page("")));
    let form = broker.post("/site/form", "name=Ann&x=1&y");
    assert_eq!(form.text(), r#"{"name":"Ann","payload":"name=Ann\u0026x=1\u0026y"}"#);
    let missing = broker.get("/site/none?%3Cb%3E");
    assert_eq!(missing.status, 404, "{}", missing.text());
    assert_eq!(broker.post("/site/", "").status, 404);
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        let response = broker.request(method, "/site/any", &[], b"");
        assert_eq!((response.status, response.text()), (200, method.to_lowercase()));
    }
    assert_eq!(broker.request("HEAD", "/site/any", &[], b"").status, 200);
    assert_eq!(broker.request("HEAD", "/site/users/7", &[], b"").status, 201);
}

#[test]
fn scripts_with_an_http_header_answer() {
    assert_site_answers(&web_broker("--* http: true"));
    assert_site_answers(&web_broker("--* html: true"));
}

#[test]
fn scripts_without_an_http_header_answer() {
    assert_site_answers(&web_broker(""));
}

#[test]
fn a_script_may_hand_requests_to_its_router() {
    let text = r#"--* require: web
--* http: true
local router = Router.new("[{{& body }}]")
router:get("/x", function(req) return "{{v}}", { v = "ok" } end)
function GET(url, body) return router:handle("GET", url, body) end
return router:handle("GET", "/x", "")"#;
    let broker = with_web().script("own", "own", text).start();
    assert_eq!(broker.get("/own/x").text(), "[ok]");
    assert_eq!(broker.get("/own/y").status, 404);
}

#[test]
fn strings_can_be_split() {
    let broker = with_web()
        .lua("split", "--* require: web\nfunction OnMessage(_, p) return table.concat(p:split(','), '|') end")
        .start();
    assert_eq!(broker.call("split", ",a,,b,"), "a||b");
}

#[test]
fn the_example_answers() {
    let broker = with_web().file("website.lua", example("website.lua")).start();
    let home = broker.get("/funcs.website").text();
    assert!(home.contains("<li><a href=\"/funcs.website/hello/Ann\">Ann</a>: 3</li>"), "{home}");
    assert!(broker.get("/funcs.website/hello/A%3Cb?greeting=Ahoy").text().contains("<p>Ahoy, A&lt;b!</p>"));
    let greeted = broker.post("/funcs.website/hello", "name=Ann+Bell");
    assert_eq!((greeted.status, greeted.header("location")), (302, Some("/funcs.website/hello/Ann+Bell")));
    assert_eq!(broker.post("/funcs.website/hello", "name=").status, 400);
    assert_eq!(
        broker.get("/funcs.website/api/visitors").text(),
        r#"[{"name":"Ann","visits":3},{"name":"Bob","visits":1}]"#
    );
}

/// The example of a webhook's receiver: the signature is GitHub's over the raw body.
#[test]
fn the_webhook_example_checks_signatures() {
    let broker = Setup::new()
        .file("webhook.lua", example("webhook.lua"))
        .env("WEBHOOK_SECRET", "It's a Secret to Everybody")
        .args(&["--allow", "env:WEBHOOK_SECRET"])
        .start();
    let body = r#"{"action":"opened"}"#;
    let signed = |signature: &str, body: &str| {
        let headers = [("x-hub-signature-256", signature), ("x-github-event", "issues")];
        broker.request("POST", "/funcs.webhook", &headers, body.as_bytes())
    };
    // printf '{"action":"opened"}' | openssl dgst -sha256 -hmac "It's a Secret to Everybody"
    let good = "sha256=5ccdd8275f57d608741ad8390e42e8696ebfcd85607d9c2ef890769dda8f7568";
    let answer = signed(good, body);
    assert_eq!((answer.status, answer.text().as_str()), (202, "thanks"));
    assert_eq!(signed(good, r#"{"action":"closed"}"#).status, 403);
    assert_eq!(signed("", body).status, 403);
    assert_eq!(broker.post("/funcs.webhook", body).status, 403);
}
