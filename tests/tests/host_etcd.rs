//! `etcd`, against a real server.

use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::servers::{Etcd, free_port};

fn broker(etcd: &Etcd, args: &[&str], lua: &str) -> Broker {
    Setup::new().env("ETCD_ENDPOINTS", &etcd.endpoint()).args(args).lua("s", lua).start()
}

fn ask(broker: &Broker) -> String {
    let answer = broker.post("/s", "");
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), broker.log());
    answer.only_payload()
}

#[test]
fn keys_and_values() {
    let etcd = Etcd::start();
    let broker = broker(
        &etcd,
        &[],
        r##"
        local etcd = require("etcd")
        function OnMessage()
          local out = {}
          local function say(...) out[#out + 1] = table.concat({...}, " ") end
          say(tostring(etcd.put("app/a", "1")), tostring(etcd.put("app/b", 2)), select("#", etcd.put("app2", "x")))
          local one, err = etcd.get("app/a", false)
          say(#one, one[1]:getKey(), one[1]:getValue(), tostring(err), type(one[1]))
          local all = etcd.get("app/", true)
          for _, kv in ipairs(all) do say(kv:getKey(), kv:getValue()) end
          say(select("#", etcd.get("nothing", false)), tostring(etcd.get("nothing", true)))
          say(select("#", etcd.delete("app/a")), tostring(etcd.delete("app/never")))
          say(#etcd.get("app/", true))
          local kv = EtcdKV.new("k", 5)
          say(kv:getKey(), kv:getValue(), tostring(getmetatable(kv) == EtcdKV))
          return table.concat(out, "\n")
        end"##,
    );
    let expected = "nil nil 1\n1 app/a 1 nil userdata\napp/a 1\napp/b 2\n2 nil\n1 nil\n1\nk 5 true";
    assert_eq!(ask(&broker), expected);
}

#[test]
fn wrong_calls_and_refusals() {
    let etcd = Etcd::start();
    let broker = broker(
        &etcd,
        &[],
        r##"
        function OnMessage()
          local before = tostring(EtcdKV)
          local etcd = require("etcd")
          local out = {before}
          local function say(...) out[#out + 1] = table.concat({...}, " | ") end
          say(select(2, pcall(function() etcd.get("a") end)))
          say(select(2, pcall(function() etcd.put("a") end)))
          say(select(2, pcall(function() EtcdKV.new("a", "b").getKey("x") end)))
          say(tostring(etcd.put("", "x")), select("#", etcd.put("", "x")))
          for _, key in ipairs {"msgscript/scripts/a/b", "msgscript/libs/x", "msgscript/locks/x", "a/../b"} do
            local value, err = etcd.get(key, false)
            say(tostring(value), err)
            say(etcd.put(key, "x"))
            say(etcd.delete(key))
          end
          for _, prefix in ipairs {"", "m", "msgscript/", "msgscript/scripts"} do
            local value, err = etcd.get(prefix, true)
            say(tostring(value), err)
          end
          return table.concat(out, "\n")
        end"##,
    );
    let text = ask(&broker);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "nil");
    assert!(lines[1].ends_with("bad argument #2 to get (boolean expected, got nil)"), "{text}");
    assert!(lines[2].ends_with("bad argument #2 to put (string expected, got nil)"), "{text}");
    assert!(lines[3].contains("bad argument #1 to getKey (EtcdKV expected)"), "{text}");
    assert!(lines[4].contains("etcdserver: key is not provided"), "{text}");
    for line in &lines[5..] {
        assert!(line.contains("denied: default has no grant to"), "{line}");
    }
    assert_eq!(lines.len(), 5 + 12 + 4, "{text}");
    assert!(lines[5].contains("read the etcd key \"msgscript/scripts/a/b\" (catalog)"), "{text}");
    assert!(broker.log().contains("denied"), "{}", broker.log());
}

#[test]
fn the_grant_catalog() {
    let etcd = Etcd::start();
    let broker = broker(
        &etcd,
        &["--allow", "catalog"],
        r##"
        local etcd = require("etcd")
        function OnMessage()
          etcd.put("msgscript/locks/mine", "1")
          etcd.put("other", "2")
          return #etcd.get("msgscript/", true) .. " " .. #etcd.get("", true)
        end"##,
    );
    assert_eq!(ask(&broker), "1 2");
}

#[test]
fn an_etcd_that_is_down_costs_its_calls_only() {
    let dead = format!("127.0.0.1:{}", free_port());
    let script = r##"
        local etcd = require("etcd")
        function OnMessage()
          local value, err = etcd.get("a", false)
          return tostring(value) .. "|" .. err .. "|" .. tostring(etcd.put("a", "b")) .. "|" .. tostring(etcd.delete("a"))
        end"##;
    let broker = Setup::new()
        .env("ETCD_ENDPOINTS", &dead)
        .args(&["--timeout", "20s"])
        .lua("s", script)
        .lua("other", "function OnMessage() return 'well' end")
        .start();
    let broker = std::sync::Arc::new(broker);
    let asking = {
        let broker = broker.clone();
        std::thread::spawn(move || broker.post("/s?_timeout=30s", "").only_payload())
    };
    assert_eq!(broker.post("/other", "").only_payload(), "well");
    let text = asking.join().unwrap();
    let parts: Vec<&str> = text.split('|').collect();
    assert_eq!(parts[0], "nil", "{text}");
    assert!(
        parts[1..].len() == 3 && parts[1..].iter().all(|part| *part != "nil" && !part.is_empty()),
        "{text}"
    );
}

#[test]
fn the_connection_comes_back() {
    let mut etcd = Etcd::start();
    let broker = broker(
        &etcd,
        &[],
        r##"
        local etcd = require("etcd")
        function OnMessage()
          return tostring(etcd.put("a", "b"))
        end"##,
    );
    assert_eq!(ask(&broker), "nil");
    etcd.stop();
    let failed = broker.post("/s?_timeout=30s", "").only_payload();
    assert_ne!(failed, "nil");
    let _etcd = etcd.start_again();
    broker.post_until("/s?_timeout=30s", "", |answer| answer.only_payload() == "nil");
}

#[test]
fn the_counter_of_the_examples_counts() {
    let etcd = Etcd::start();
    let text = std::fs::read_to_string("../examples/counter.lua").unwrap();
    let broker = Setup::new().env("ETCD_ENDPOINTS", &etcd.endpoint()).file("counter.lua", text).start();
    let count = || broker.post("/counter", "").only_payload();
    assert_eq!([count(), count(), count()], ["1", "2", "3"]);
}
