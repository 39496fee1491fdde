//! `http` of scripts against real servers: what `lua-modules` promises, and what hostile servers try.

use std::io::Write as _;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use msgscript_tests::harness::{Broker, EVAL, Setup};
use msgscript_tests::web::{Authority, Identity, Request, Web, reply};

fn broker() -> Broker {
    Setup::new().lua("eval", EVAL).start()
}

/// Runs code with `http`, and `URL` for the server's own.
fn eval(broker: &Broker, web: &Web, code: &str) -> String {
    broker.eval(&format!("local http, URL = require('http'), '{}' {code}", web.url("")))
}

fn echo() -> Web {
    Web::start(|request, to| {
        let fields = [
            ("content-type", "text/plain"),
            ("x-multi", "one"),
            ("X-Multi", "two"),
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=\"x y\""),
        ];
        let body = format!("{} {}", request.method, request.path);
        reply(to, 201, &fields, if request.method == "HEAD" { b"" } else { body.as_bytes() })
    })
}

#[test]
fn every_method_and_every_field() {
    let (broker, web) = (broker(), echo());
    for method in ["get", "delete", "head", "patch", "post", "put"] {
        let body = if method == "head" { String::new() } else { format!("{} /p?q=1", method.to_uppercase()) };
        let code =
            format!("local r = http.{method}(URL .. '/p?q=1') return r.status_code, r.body, r.body_size");
        assert_eq!(eval(&broker, &web, &code), format!("201|{body}|{}", body.len()));
        assert_eq!(web.last().method, method.to_uppercase());
        assert_eq!(web.last().header("user-agent"), "Go-http-client/1.1");
    }
    assert_eq!(web.last().header("content-length"), "0", "of a PUT without a body");
    let code = "local r = http.get(URL .. '/x') local h = r.headers h.X = 1 return r.headers['Content-Type'], \
        r.headers['X-Multi'], r.headers['x-multi'], r.headers.X, r.cookies.a, r.cookies.b, r.url == URL .. '/x'";
    assert_eq!(eval(&broker, &web, code), "text/plain|one|nil|nil|1|x y|true");
    let code = "local r = http.get(URL) return getmetatable(r) == http.response, r.nothing, r[1], \
        pcall(function() r.foo = 1 end)";
    let refused = "true|nil|nil|false|eval:1: attempt to index a non-table object(userdata) with key 'foo'";
    assert_eq!(eval(&broker, &web, code), refused);
    assert_eq!(eval(&broker, &web, "return http.request('pUt', URL .. '/r').body"), "PUT /r");
    assert_eq!(eval(&broker, &web, "return http.request(nil, URL .. '/r').body"), "GET /r");
    assert_eq!(web.connections(), 1, "one connection serves them all");
}

#[test]
fn options() {
    let (broker, web) = (broker(), echo());
    let sent = |options: &str| -> Request {
        let code = format!("return http.post(URL .. '/p?old=1#f', {options}).status_code");
        assert_eq!(eval(&broker, &web, &code), "201", "{options}");
        web.last()
    };
    assert_eq!(sent("{query = 'a=b&c=%20'}").path, "/p?a=b&c=%20");
    assert_eq!(sent("{query = {a = 1}}").path, "/p?old=1");
    let request = sent("{body = 'x=1'}");
    assert_eq!((&*request.body, request.header("content-type")), (&b"x=1"[..], ""));
    let request = sent("{form = 'x=1'}");
    assert_eq!(
        (&*request.body, request.header("content-type")),
        (&b"x=1"[..], "application/x-www-form-urlencoded")
    );
    assert_eq!(sent("{body = 5, form = 'f'}").body, b"f");
    assert_eq!(sent("{body = 5}").header("content-length"), "0");
    let request = sent("{headers = {['x-number'] = 5, ['x-b'] = true, ['User-Agent'] = 'me'}}");
    assert_eq!(
        (request.header("x-number"), request.header("x-b"), request.header("user-agent")),
        ("5", "true", "me")
    );
    assert!(request.head.contains("X-Number: 5"), "names go out in their usual form: {}", request.head);
    let cookies = sent("{cookies = {a = 'x y', b = 'q;\"z', c = 1}}");
    assert_eq!(cookies.header("cookie"), "a=\"x y\"; b=qz; c=1");
    assert_eq!(sent("{auth = {user = 'u', pass = 'p'}}").header("authorization"), "Basic dTpw");
    let request = sent("{auth = {user = 'u', pass = 'p'}, headers = {authorization = 'mine'}}");
    assert_eq!(request.header("authorization"), "mine");
    let code = "return http.get(URL, {auth = {user = 'u'}})";
    assert_eq!(eval(&broker, &web, code), "nil|auth table must contain no nil user and pass fields");
    let login = format!("return http.get('http://u:p@{}/').status_code", web.address());
    assert_eq!(eval(&broker, &web, &login), "201");
    assert_eq!(web.last().header("authorization"), "Basic dTpw");
}

/// P08: what frames a message is the broker's.
#[test]
fn p08_framing_is_not_for_scripts() {
    let (broker, web) = (broker(), echo());
    let code = "return http.post(URL .. '/p', {body = 'ab', headers = {Host = 'evil', ['Content-Length'] = '9', \
        ['Transfer-Encoding'] = 'chunked', Trailer = 'x', Connection = 'close'}}).status_code";
    assert_eq!(eval(&broker, &web, code), "201");
    let request = web.last();
    assert_eq!(request.header("host"), web.address().to_string());
    assert_eq!((request.header("content-length"), &*request.body), ("2", &b"ab"[..]));
    assert_eq!((request.header("transfer-encoding"), request.header("trailer")), ("", ""));
    let before = web.requests().len();
    for (name, value, expected) in [
        ("Connection", "upgrade", "is not for scripts"),
        ("Upgrade", "websocket", "is not for scripts"),
        ("Proxy-Authorization", "x", "is not for scripts"),
        ("bad header", "x", "net/http: invalid header field name \"bad header\""),
        ("X\\r\\nY", "x", "net/http: invalid header field name"),
        ("X-A", "a\\r\\nEvil: 1", "net/http: invalid header field value for \"X-A\""),
        ("X-A", "a\\0b", "net/http: invalid header field value for \"X-A\""),
    ] {
        let code = format!("return http.get(URL, {{headers = {{['{name}'] = '{value}'}}}})");
        let told = eval(&broker, &web, &code);
        assert!(told.starts_with("nil|Get ") && told.contains(expected), "{told}");
    }
    let told = eval(&broker, &web, "return http.request('BAD METHOD', URL)");
    assert_eq!(told, "nil|net/http: invalid method \"BAD METHOD\"");
    let told = eval(&broker, &web, "return http.request('GET\\r\\nX: 1', URL)");
    assert!(told.starts_with("nil|net/http: invalid method"), "{told}");
    let told = eval(&broker, &web, "return http.get(URL .. '/a\\r\\nX: 1')");
    assert!(told.contains("invalid control character in URL"), "{told}");
    assert_eq!(web.requests().len(), before, "none of them went out");
    assert_eq!(eval(&broker, &web, "return http.get(URL .. '/a b').status_code"), "201");
    assert_eq!(web.last().path, "/a%20b");
}

#[test]
fn failures_in_go_words() {
    let (broker, web) = (broker(), echo());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = format!("nil|Post \"http://{free}/\": dial tcp {free}: connect: connection refused");
    assert_eq!(eval(&broker, &web, &format!("return http.post('http://{free}/')")), refused);
    for (code, expected) in [
        (
            "http.get('http://x.invalid/')",
            "Get \"http://x.invalid/\": dial tcp: lookup x.invalid: no such host",
        ),
        ("http.get('foo://x/')", "Get \"foo://x/\": unsupported protocol scheme \"foo\""),
        ("http.get()", "Get \"\": unsupported protocol scheme \"\""),
        ("http.get({})", "Get \"\": unsupported protocol scheme \"\""),
        ("http.get('http://[::1')", "parse \"http://[::1\": missing ']' in host"),
        ("http.get(URL, {timeout = '5'})", "time: missing unit in duration \"5\""),
        ("http.get(URL, {timeout = 'abc'})", "time: invalid duration \"abc\""),
    ] {
        assert_eq!(eval(&broker, &web, &format!("return {code}")), format!("nil|{expected}"), "{code}");
    }
}

#[test]
fn timeouts() {
    let (broker, web) = (
        broker(),
        Web::start(|_, _| {
            std::thread::sleep(Duration::from_secs(20));
            false
        }),
    );
    for timeout in ["'200ms'", "0.5", "'-1s'", "true"] {
        let code = format!("return http.get(URL .. '/', {{timeout = {timeout}}})");
        let expected = format!("nil|Get \"{}\": context deadline exceeded", web.url("/"));
        assert_eq!(eval(&broker, &web, &code), expected, "{timeout}");
    }
    let slow = Setup::new().args(&["--timeout", "700ms"]).lua("eval", EVAL).start();
    let (response, _) = slow.fail("eval", &format!("return require('http').get('{}')", web.url("/")));
    assert_eq!(response.reason(), "wall_time", "the run's own deadline counts as well");
}

fn redirecting() -> Web {
    Web::start(|request, to| {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        match path.strip_prefix("/to/").and_then(|status| status.parse().ok()) {
            Some(status) => reply(to, status, &[("Location", query)], b"moved"),
            None if path == "/loop" => reply(to, 302, &[("Location", "/loop")], b""),
            None => {
                let seen = ["authorization", "cookie", "x-own", "referer", "content-type"];
                let seen = seen.map(|name| format!("{name}={}", request.header(name))).join(" ");
                let body = String::from_utf8_lossy(&request.body);
                reply(to, 200, &[], format!("{} {} {seen} {body}", request.method, request.path).as_bytes())
            }
        }
    })
}

#[test]
fn redirects() {
    let (broker, web, other) = (broker(), redirecting(), redirecting());
    let all =
        "{headers = {Authorization = 'a', Cookie = 'c', ['X-Own'] = 'x', ['Content-Type'] = 't'}, body = B}";
    let run = |method: &str, status: u16, location: &str, body: &str| {
        let all = all.replace('B', body);
        eval(
            &broker,
            &web,
            &format!(
                "local r, e = http.{method}(URL .. '/to/{status}?{location}', {all}) if not r then return e end \
             return r.status_code, r.body, r.url == '{location}' or r.url"
            ),
        )
    };
    let here = web.url("/end");
    let kept = |method: &str, kind: &str, status: u16| {
        let from = web.url(&format!("/to/{status}?{here}"));
        format!("200|{method} /end authorization=a cookie=c x-own=x referer={from} content-type={kind} |true")
    };
    for status in [301, 302, 303] {
        assert_eq!(run("post", status, &here, "'b'"), kept("GET", "", status));
        assert_eq!(run("get", status, &here, "nil"), kept("GET", "t", status));
    }
    for status in [307, 308] {
        assert_eq!(run("put", status, &here, "nil"), kept("PUT", "t", status));
        let unfollowed = run("put", status, &here, "'b'");
        assert!(unfollowed.starts_with(&format!("{status}|moved|{}", web.url("/to/"))), "{unfollowed}");
    }
    let cross = run("get", 302, &other.url("/end"), "nil");
    assert!(cross.contains("authorization= cookie= x-own=x"), "no credentials to another origin: {cross}");
    let told = eval(&broker, &web, "return http.get(URL .. '/loop')");
    assert_eq!(told, "nil|Get \"/loop\": stopped after 10 redirects");
    for (location, expected) in [
        ("file:///etc/passwd", "unsupported protocol scheme \"file\""),
        ("gopher://x/", "unsupported protocol scheme \"gopher\""),
        ("ftp://x/", "unsupported protocol scheme \"ftp\""),
    ] {
        let told = run("get", 302, location, "nil");
        assert!(told.ends_with(expected), "{told}");
    }
}

#[test]
fn a_batch_runs_at_once() {
    let broker = broker();
    let barrier = Arc::new(Barrier::new(4));
    let web = Web::start(move |request, to| {
        // Nobody is answered before all four are here.
        barrier.wait();
        reply(to, 200, &[], request.path.as_bytes())
    });
    let code = "local list = {} for i = 1, 4 do list[i] = {'GET', URL .. '/' .. i} end \
        local all, errors = http.request_batch(list) \
        for i = 1, #all do all[i] = all[i].body end return table.concat(all, ' '), errors";
    assert_eq!(eval(&broker, &web, code), "/1 /2 /3 /4|nil");
    let many = echo();
    let code = "local list = {} for i = 1, 150 do list[i] = {'GET', URL .. '/' .. i} end \
        local all = http.request_batch(list) return #all, all[150].body";
    assert_eq!(eval(&broker, &many, code), "150|GET /150");
    let code = "local all, errors = http.request_batch {5, {'GET', 'foo://x/'}, {'PUT', URL .. '/x'}} \
        return #all, all[1].body, #errors, errors[1], errors[2]";
    let expected = "1|PUT /x|2|Request must be a table|Get \"foo://x/\": unsupported protocol scheme \"foo\"";
    assert_eq!(eval(&broker, &many, code), expected);
    assert!(eval(&broker, &many, "return pcall(http.request_batch)").starts_with("false|runtime error"));
}

/// P09: servers that do not play fair.
#[test]
fn p09_hostile_servers() {
    let broker = broker();
    let web = Web::start(|request, to| {
        let _ = match &*request.path {
            "/infinite" => {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let chunk = [b"10000\r\n", vec![b'x'; 65536].as_slice(), b"\r\n"].concat();
                while to.write_all(&chunk).is_ok() {}
                Ok(())
            }
            "/drip" => {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                while to.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
            "/head" => {
                let _ = to.write_all(b"HTTP/1.1 200 OK\r\n");
                while to.write_all(b"X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
                Ok(())
            }
            "/informational" => {
                while to.write_all(b"HTTP/1.1 103 Early\r\nX: 1\r\n\r\n").is_ok() {}
                Ok(())
            }
            "/short" => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            "/two" => to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc"),
            "/garbage" => to.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"),
            "/nothing" => Ok(()),
            "/bomb" => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                (0..64).for_each(|_| gzip.write_all(&vec![0; 1 << 20]).unwrap());
                let body = gzip.finish().unwrap();
                reply(to, 200, &[("Content-Encoding", "gzip")], &body);
                Ok(())
            }
            _ => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(b"plain text").unwrap();
                let mut body = gzip.finish().unwrap();
                if request.path == "/cut" {
                    body.truncate(12);
                }
                reply(to, 200, &[("Content-Encoding", "gzip")], &body);
                Ok(())
            }
        };
        false
    });
    for (path, expected) in [
        ("/infinite", "the response is larger than 16MiB"),
        ("/drip", "context deadline exceeded"),
        ("/head", "net/http: server response headers exceeded 64KiB; aborted"),
        ("/informational", "context deadline exceeded"),
        ("/short", "unexpected EOF"),
        ("/two", "net/http: malformed HTTP response"),
        ("/garbage", "net/http: malformed HTTP response"),
        ("/nothing", "EOF"),
        ("/bomb", "the response is larger than 16MiB"),
        ("/cut", "unexpected EOF"),
    ] {
        let told = eval(&broker, &web, &format!("return http.get(URL .. '{path}', {{timeout = '3s'}})"));
        assert!(told.starts_with("nil|Get ") && told.contains(expected), "{path}: {told}");
    }
    let code = "local r = http.get(URL .. '/gzip') return r.body, r.headers['Content-Encoding'], r.body_size";
    assert_eq!(eval(&broker, &web, code), "plain text|nil|10");
    assert_eq!(web.last().header("accept-encoding"), "gzip");
    let code = "local r = http.get(URL .. '/gzip', {headers = {['Accept-Encoding'] = 'gzip'}}) \
        return r.headers['Content-Encoding'], r.body:sub(1, 2) == '\\31\\139'";
    assert_eq!(eval(&broker, &web, code), "gzip|true", "who asks for it himself gets it as it is");
}

#[test]
fn certificates_are_verified() {
    let authority = Authority::default();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let answer = |_: &Request, to: &mut dyn std::io::Write| reply(to, 200, &[], b"secure");
    let good = Web::start_tls(authority.issue("localhost", 2020, 2099), answer);
    let expired = Web::start_tls(authority.issue("localhost", 2020, 2021), answer);
    let elsewhere = Web::start_tls(authority.issue("other.example", 2020, 2099), answer);
    let unsigned = Web::start_tls(Identity::self_signed("localhost"), answer);
    let broker = Setup::new().args(&["--http-ca", ca.to_str().unwrap()]).lua("eval", EVAL).start();
    let get = |broker: &Broker, web: &Web| {
        broker.eval(&format!(
            "local r, e = require('http').get('https://localhost:{}/') return r and r.body or e",
            web.port()
        ))
    };
    assert_eq!(get(&broker, &good), "secure");
    assert_eq!(get(&broker, &good), "secure");
    assert_eq!(good.connections(), 1);
    for (web, expected) in [
        (&expired, "certificate has expired or is not yet valid"),
        (&elsewhere, "certificate is not valid for localhost"),
        (&unsigned, "certificate"),
    ] {
        let told = get(&broker, web);
        assert!(told.contains(&format!("x509: {expected}")), "{told}");
        assert!(web.requests().is_empty());
    }
    let without = Setup::new().lua("eval", EVAL).start();
    let told = get(&without, &good);
    assert!(
        told.ends_with("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{told}"
    );
}

#[test]
fn a_connection_that_went_stale_is_replaced() {
    let broker = broker();
    // Says nothing of closing, and closes.
    let web = Web::start(|_, to| {
        reply(to, 200, &[], b"x");
        false
    });
    for _ in 0..5 {
        assert_eq!(eval(&broker, &web, "return http.get(URL).body"), "x");
    }
}

#[test]
fn secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sw0rdfish!\n").unwrap();
    let config = format!(
        "[secret.key]\nfile = \"{}\"\nhosts = [\"127.0.0.1\"]\n[secret.env]\nenv = \"KEY\"\nhosts = [\"127.0.0.1\"]\n",
        file.display()
    );
    let broker = Setup::new().config(&config).env("KEY", "from-env").lua("eval", EVAL).start();
    let web = Web::start(|request, to| {
        if let Some(location) = request.path.strip_prefix("/to?") {
            return reply(to, 302, &[("Location", location)], b"");
        }
        let seen = request.header("x-key").to_owned() + request.header("authorization");
        reply(to, 200, &[("X-Echo", &seen)], format!("you sent {seen}").as_bytes())
    });
    let get = |url: &str, options: &str| {
        eval(
            &broker,
            &web,
            &format!(
                "local r, e = http.get('{url}', {options}) if not r then return e end return r.body, r.headers['X-Echo']"
            ),
        )
    };
    let header = "{headers = {['X-Key'] = 'k={{secret:key}}'}}";
    assert_eq!(get(&web.url("/"), header), "you sent k=[secret:key]|k=[secret:key]");
    assert_eq!(web.last().header("x-key"), "k=sw0rdfish!");
    let basic = "{auth = {user = 'me', pass = '{{secret:key}}'}}";
    let told = get(&web.url("/"), basic);
    assert!(told.contains("[secret:key]") && !told.contains("bWU6c3cwcmRmaXNoIQ"), "{told}");
    assert_eq!(web.last().header("authorization"), "Basic bWU6c3cwcmRmaXNoIQ==");
    std::fs::write(&file, "r0tated").unwrap();
    assert_eq!(get(&web.url("/"), header), "you sent k=[secret:key]|k=[secret:key]");
    assert_eq!(web.last().header("x-key"), "k=r0tated", "read at each use");
    assert_eq!(
        get(&web.url("/"), &header.replace("key}}", "env}}")),
        "you sent k=[secret:env]|k=[secret:env]"
    );
    let count = web.requests().len();
    let elsewhere = format!("http://localhost:{}/", web.port());
    assert_eq!(
        get(&elsewhere, header),
        "denied: the secret key may not go to localhost ([secret.key] hosts)"
    );
    let unknown = get(&web.url("/"), &header.replace("key}}", "no}}"));
    assert!(unknown.starts_with("denied: default has no grant to use the secret no"), "{unknown}");
    std::fs::remove_file(&file).unwrap();
    let told = get(&web.url("/"), header);
    assert!(told.ends_with("the secret key cannot be read"), "{told}");
    assert_eq!(web.requests().len(), count, "nothing went out");
    std::fs::write(&file, "r0tated").unwrap();
    assert_eq!(get(&web.url(&format!("/to?{elsewhere}")), header), "you sent |", "it stays with its origin");
    let log = broker.log();
    assert!(!log.contains("sw0rdfish") && !log.contains("r0tated") && !log.contains("from-env"), "{log}");
    assert!(log.contains("a secret cannot be read"), "{log}");
}
