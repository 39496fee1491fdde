//! `vault` of scripts against a server of the test's own that speaks version 2 of the key-value store, as
//! Vault's API documentation records it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use msgscript_tests::harness::{EVAL, Setup};
use msgscript_tests::web::{Request, Web, reply};
use serde_json::{Value, json};

const TOKEN: &str = "hvs.secret-token";

/// A mount `kv` and one `my/kv`.
fn vault() -> Web {
    let store: Mutex<BTreeMap<String, Value>> = Mutex::default();
    Web::start(move |request, to| {
        let (status, body) = answer(&mut store.lock().unwrap(), request);
        if status == 204 {
            return to.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok();
        }
        reply(to, status, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    })
}

fn answer(store: &mut BTreeMap<String, Value>, request: &Request) -> (u16, Value) {
    if request.header("x-vault-token") != TOKEN {
        return (403, json!({"errors": ["permission denied"]}));
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = path.strip_prefix("/v1/").unwrap();
    let Some((kind, key)) = ["data", "metadata"].iter().find_map(|kind| {
        ["kv", "my/kv"].iter().find_map(|mount| {
            let key = path.strip_prefix(&format!("{mount}/{kind}/"))?;
            Some((*kind, format!("{mount}:{key}")))
        })
    }) else {
        return (404, json!({"errors": ["no handler for route"]}));
    };
    match (&*request.method, kind) {
        ("GET", "data") => match store.get(&key) {
            Some(Value::Null) => (404, json!({"data": {"data": null, "metadata": {"destroyed": false}}})),
            Some(data) => (200, json!({"data": {"data": data, "metadata": {"version": 1}}})),
            None => (404, json!({"errors": []})),
        },
        ("PUT" | "POST", "data") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            store.insert(key, body["data"].clone());
            (200, json!({"data": {"version": 1}}))
        }
        ("DELETE", "data") => {
            store.insert(key, Value::Null);
            (204, Value::Null)
        }
        ("DELETE", "metadata") => {
            store.remove(&key);
            (204, Value::Null)
        }
        ("GET", "metadata") if query == "list=true" => {
            let keys: Vec<&str> = store.keys().filter_map(|name| name.strip_prefix(&*key)).collect();
            if keys.is_empty() {
                (404, json!({"errors": []}))
            } else {
                (200, json!({"data": {"keys": keys}}))
            }
        }
        _ => (405, json!({"errors": ["unsupported operation"]})),
    }
}

#[test]
fn a_value_goes_in_and_comes_back() {
    let vault = vault();
    let broker = Setup::new().lua("eval", EVAL).start();
    let url = vault.url("");
    let run = |code: &str| {
        broker.eval(&format!(
            "local vault = require('vault') local v, e = vault.new('{url}', '{TOKEN}') \
             assert(v and e == nil and VaultKV.new == vault.new) {code}"
        ))
    };
    assert_eq!(run("return v:write('/app/db', {user = 'me', port = 5432, tls = true}, 'kv')"), "");
    assert_eq!(
        run("local t, e = v:read('/app/db', 'kv') return t.user, t.port, t.tls, e"),
        "me|5432|true|nil"
    );
    assert_eq!(vault.last().path, "/v1/kv/data/app/db");
    assert_eq!(run("return v:write('/empty', {}, 'my/kv')"), "");
    assert_eq!(run("local t, e = v:read('/empty', 'my/kv') return next(t), e"), "nil|nil");
    assert_eq!(
        run("v:write('/app/x', {a = 'b'}, 'kv') local t = v:list('/app/', 'kv') return t[1], t[2], #t"),
        "db|x|2"
    );
    assert_eq!(run("return v:delete('/app/x', 'kv')"), "");
    assert_eq!(run("return v:read('/app/x', 'kv')"), "nil|path /app/x not found");
    // Failures, as the Go server's module has them.
    assert!(
        run("return pcall(v.list, v, '/none/', 'kv')").starts_with("false|runtime error: invalid memory")
    );
    assert!(run("return pcall(v.read, v, 5)").contains("bad argument #3 to read (string expected, got nil)"));
    assert!(run("return pcall(v.read, v, '/x')").contains("(string expected, got nil)"));
    assert!(run("return pcall(vault.new)").contains("bad argument #1 to new (string expected, got nil)"));
    assert!(
        run("return pcall(vault.new, '', '', 1)")
            .contains("bad argument #3 to new (boolean expected, got number)")
    );
    assert!(run("return vault.new('not a url', '')").starts_with("nil|failed to create new vault client: "));
    let denied =
        |code: &str| broker.eval(&format!("local v = require('vault').new('{url}', 'bad') return {code}"));
    assert!(denied("v:read('/app/db', 'kv')").starts_with("nil|failed to read path /app/db: "));
    assert!(denied("v:write('/a', {}, 'kv')").starts_with("failed to write to /a: "));
    assert!(denied("v:delete('/a', 'kv')").starts_with("failed to delete /a: "));
    assert!(denied("v:list('/a', 'kv')").starts_with("nil|failed to list /a: "));
    assert!(denied("v:read('/app/db', 'kv')").contains("permission denied"));
}

#[test]
fn the_token_may_be_a_secret() {
    let vault = vault();
    let config = "[secret.vault]\nenv = \"TOKEN\"\nhosts = [\"127.0.0.1\"]\n";
    let broker = Setup::new().config(config).env("TOKEN", TOKEN).lua("eval", EVAL).start();
    let code = format!(
        "local v = require('vault').new('{}', '{{{{secret:vault}}}}') \
         v:write('/a', {{t = 'x'}}, 'kv') return v:read('/a', 'kv').t",
        vault.url("")
    );
    assert_eq!(broker.eval(&code), "x");
}
