//! `sqlite3`: databases in a run's memory, and files of granted folders.

use std::os::unix::fs::symlink;

use msgscript_tests::harness::{Broker, Response, Setup};
use tempfile::TempDir;

/// Runs a script whose `say` collects lines.
const SAY: &str = r##"
    local sqlite3, json = require("sqlite3"), require("json")
    local out
    local function say(...)
      local parts = {}
      for i = 1, select("#", ...) do
        local part = select(i, ...)
        parts[i] = type(part) == "table" and json.encode(part) or tostring(part)
      end
      out[#out + 1] = table.concat(parts, " ")
    end
    local function open(file, options)
      local db = sqlite3.new()
      local ok, err = db:open(file, options or {mode = "rwc"})
      if not ok then say("not open: " .. err) end
      return db
    end
    function OnMessage(subject, payload)
      out = {}
      test(payload)
      return table.concat(out, "\n")
    end
"##;

fn script(lua: &str) -> String {
    format!("{SAY}\nfunction test(payload)\n{lua}\nend")
}

fn broker(args: &[&str], lua: &str) -> Broker {
    Setup::new().args(args).lua("s", &script(lua)).start()
}

fn text(broker: &Broker, answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), broker.log());
    answer.only_payload()
}

fn ask(broker: &Broker, payload: &str) -> String {
    text(broker, &broker.post("/s", payload))
}

fn allow(folder: &TempDir, read_only: bool) -> String {
    format!("files:{}{}", folder.path().display(), if read_only { ":ro" } else { "" })
}

#[test]
fn in_memory() {
    let broker = broker(
        &["--workers", "1"],
        r##"
        say(sqlite3._VERSION, sqlite3._DEBUG)
        local db = open(":memory:")
        say(type(db), db:query("CREATE TABLE t (n INTEGER, r REAL, s TEXT, b BOOLEAN, d DATETIME)"))
        say(db:query("INSERT INTO t VALUES (1, 0.5, 'x', 1, '2024-05-06'), (NULL, NULL, NULL, 0, NULL)"))
        say(db:query("SELECT * FROM t"))
        say(db:query("SELECT count(*) FROM t WHERE n = ?", 1))
        say(db:query("selec"))
        say(db:query("SELECT * FROM nope"))
        say(select("#", db:query("SELECT date('now'), random()")), db:set_timeout(500))
        say(db:close(), db:close(), select("#", db:query("SELECT 1")))
        local file = open("named.db")
        say(file:query("SELECT count(*) AS tables FROM sqlite_master"))
        file:query("CREATE TABLE t (n)")
        say(open("named.db"):query("SELECT * FROM t"))
        local mysql = require("mysql").new()
        say(mysql:connect("sqlite3://named.db"), mysql:query("SELECT ? AS a", "x"))
        "##,
    );
    let expected = r##"0.0.0 false
userdata []
[]
[{"b":true,"d":"2024-05-06","n":1,"r":0.5,"s":"x"},{"b":false}]
[{"count(*)":1}]
nil near "selec": syntax error
nil no such table: nope
1
true true 0
[{"tables":0}]
[]
true [{"a":"x"}]"##;
    // Twice in the same worker: nothing is left of the first run.
    assert_eq!(ask(&broker, ""), expected);
    assert_eq!(ask(&broker, ""), expected);
}

#[test]
fn no_file_is_reached_from_a_scripts_worker() {
    let broker = broker(
        &[],
        r##"
        local db = open(":memory:")
        db:query("CREATE TABLE t (n)")
        for _, sql in ipairs {
          "ATTACH '/etc/passwd' AS p", "ATTACH 'file:/tmp/x.db?vfs=unix' AS p", "ATTACH '' AS empty",
          "VACUUM INTO '/tmp/msgscript-escaped.db'", "SELECT load_extension('/lib/x.so')",
          "PRAGMA temp_store = FILE", "PRAGMA temp_store_directory = '/tmp'", "PRAGMA journal_mode = WAL",
          "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA mmap_size = 1000000", "VACUUM",
          "CREATE TEMP TABLE big AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 50000) SELECT n, randomblob(50) FROM c",
          "SELECT count(*) FROM (SELECT * FROM big ORDER BY 2)",
          "SELECT datetime('now', 'localtime')", "SELECT hex(randomblob(8))",
        } do
          local rows, err = db:query(sql)
          say(rows and "ok" or err)
        end
        "##,
    );
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("unable to open database"), "{text}");
    assert!(lines[1].contains("no such vfs: unix") || lines[1].contains("unable to open database"), "{text}");
    assert!(lines[3].contains("unable to open"), "{text}");
    assert_eq!(lines[4], "not authorized");
    assert_eq!(lines[12..], ["ok", "ok", "ok"], "{text}");
    assert_eq!(lines.len(), 15);
    assert!(!std::path::Path::new("/tmp/msgscript-escaped.db").exists());
}

#[test]
fn memory_is_the_runs_own() {
    for lua in [
        "local db = open(':memory:') db:query('CREATE TABLE t (x)') \
         while true do db:query('INSERT INTO t VALUES (randomblob(1000000))') end",
        "local db = open(':memory:') db:query('SELECT zeroblob(500000000)')",
        "local db = open(':memory:') pcall(db.query, db, \"SELECT replace(hex(zeroblob(30000000)), '0', 'xxxxxxxx')\")",
        "local dbs = {} for i = 1, 100000 do dbs[i] = open(':memory:') dbs[i]:query('CREATE TABLE t (x)') end",
    ] {
        let broker = broker(&["--memory", "32MiB", "--workers", "1"], lua);
        let answer = broker.post("/s", "");
        assert_eq!(
            (answer.status, answer.only()["reason"].as_str()),
            (500, Some("memory")),
            "{lua}: {}",
            answer.text()
        );
        // Whether the worker had to go or not, the next run is served.
        assert_eq!(broker.post("/s", "").status, 500);
    }
}

#[test]
fn files_of_a_granted_folder_stay() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data.db");
    let lua = format!(
        r##"
        local db = open("{}")
        if payload ~= "" then say(db:query("CREATE TABLE IF NOT EXISTS t (n, s TEXT)")) say(db:query("INSERT INTO t VALUES (?, ?)", 1, payload)) end
        say(db:query("SELECT count(*) AS n, max(s) AS s FROM t"))
        say(db:query("SELECT * FROM nope"))
        say(db:query("SELECT ?"))
        say(db:close(), select("#", db:query("SELECT 1")))
        "##,
        path.display()
    );
    let broker = broker(&["--allow", &allow(&folder, false)], &lua);
    let rest = "nil no such table: nope\nnil not enough args to execute query: want 1 got 0\ntrue 0";
    assert_eq!(ask(&broker, "a"), format!("[]\n[]\n[{{\"n\":1,\"s\":\"a\"}}]\n{rest}"));
    assert_eq!(ask(&broker, "b"), format!("[]\n[]\n[{{\"n\":2,\"s\":\"b\"}}]\n{rest}"));
    assert_eq!(ask(&broker, ""), format!("[{{\"n\":2,\"s\":\"b\"}}]\n{rest}"));
    assert!(path.exists());
}

#[test]
fn a_transaction_ends_with_its_run() {
    let folder = TempDir::new().unwrap();
    let lua = format!(
        r##"
        local db = open("{}/data.db")
        db:query("CREATE TABLE IF NOT EXISTS t (n)")
        say(db:query("BEGIN"))
        say(db:query("INSERT INTO t VALUES (1)"))
        say(db:query("SELECT count(*) AS n FROM t"))
        if payload == "commit" then say(db:query("COMMIT")) end
        if payload == "fail" then error("no") end
        "##,
        folder.path().display()
    );
    let broker = broker(&["--allow", &allow(&folder, false)], &lua);
    assert_eq!(ask(&broker, ""), "[]\n[]\n[{\"n\":1}]");
    assert_eq!(broker.post("/s", "fail").status, 500);
    assert_eq!(ask(&broker, "commit"), "[]\n[]\n[{\"n\":1}]\n[]");
    assert_eq!(ask(&broker, ""), "[]\n[]\n[{\"n\":2}]");
}

#[test]
fn a_granted_folder_is_all_that_opens() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let secret = other.path().join("secret.db");
    std::fs::write(&secret, b"").unwrap();
    symlink(&secret, folder.path().join("link.db")).unwrap();
    symlink(other.path(), folder.path().join("away")).unwrap();
    let lua = format!(
        r##"
        local folder, other = "{}", "{}"
        local db = open(folder .. "/data.db")
        db:query("CREATE TABLE t (n)")
        for _, path in ipairs {{other .. "/secret.db", folder .. "/link.db", folder .. "/away/new.db", "/etc/passwd", "/proc/self/maps"}} do
          local rows, err = db:query("ATTACH '" .. path .. "' AS a")
          if rows then rows, err = db:query("CREATE TABLE a.x (n)") db:query("DETACH a") end
          say(rows and "reached " .. path or err)
        end
        say(db:query("ATTACH '" .. folder .. "/second.db' AS b"))
        say(db:query("VACUUM INTO '" .. other .. "/copy.db'"))
        say(db:query("SELECT load_extension('" .. folder .. "/x.so')"))
        say(open(folder .. "/away/new.db"):query("CREATE TABLE x (n)"))
        say(open(folder .. "/../" .. other:match("[^/]+$") .. "/secret.db"):query("CREATE TABLE x (n)"))
        say(open(other .. "/secret.db"):query("CREATE TABLE virtual (n)"))
        "##,
        folder.path().display(),
        other.path().display()
    );
    let broker = broker(&["--allow", &allow(&folder, false)], &lua);
    let text = ask(&broker, "");
    assert!(!text.contains("reached"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[5], "[]", "{text}");
    assert!(lines[6].starts_with("nil ") && lines[7] == "nil not authorized", "{text}");
    assert!(lines[8].contains("not open: ") || lines[8].starts_with("nil "), "{text}");
    assert_eq!(std::fs::read(&secret).unwrap(), b"");
    let left: Vec<_> =
        std::fs::read_dir(other.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["secret.db"], "{text}");
}

#[test]
fn a_folder_granted_to_be_read() {
    let folder = TempDir::new().unwrap();
    let lua = format!(
        r##"
        local path = "{}/data.db"
        local db = open(path, {{mode = payload}})
        say(db:query("CREATE TABLE t (n)"))
        say(db:query("SELECT count(*) AS n FROM sqlite_master"))
        "##,
        folder.path().display()
    );
    {
        let writer = broker(&["--allow", &allow(&folder, false)], &lua);
        assert_eq!(ask(&writer, "rwc"), "[]\n[{\"n\":1}]");
        assert!(ask(&writer, "ro").starts_with("nil attempt to write a readonly database\n[{\"n\":1}]"));
    }
    let reader = broker(&["--allow", &allow(&folder, true)], &lua);
    assert!(ask(&reader, "ro").starts_with("nil attempt to write a readonly database\n[{\"n\":1}]"));
    let refused = ask(&reader, "rwc");
    assert!(refused.starts_with("not open: denied: default has no grant to write"), "{refused}");
}

#[test]
fn runs_at_the_same_time_wait_for_each_other() {
    let folder = TempDir::new().unwrap();
    let lua = format!(
        r##"
        local db = open("{}/data.db")
        db:query("CREATE TABLE IF NOT EXISTS t (n)")
        for i = 1, 20 do
          local rows, err = db:query("INSERT INTO t VALUES (1)")
          if err then say(err) end
        end
        "##,
        folder.path().display()
    );
    let broker = broker(&["--allow", &allow(&folder, false), "--workers", "4"], &lua);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&broker, ""))).collect();
        for asked in asking {
            assert_eq!(asked.join().unwrap(), "");
        }
    });
}

#[test]
fn a_long_query_ends_with_its_run() {
    let folder = TempDir::new().unwrap();
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let lua = format!(
        r##"
        local db = open(payload == "file" and "{}/data.db" or ":memory:")
        say(db:query("{endless}"))
        "##,
        folder.path().display()
    );
    let broker = broker(&["--allow", &allow(&folder, false), "--timeout", "1s"], &lua);
    assert_eq!(ask(&broker, "file"), "nil context deadline exceeded");
    assert_eq!(broker.post("/s", "").status, 504);
}

#[test]
fn the_example_adds_up() {
    let example = std::fs::read_to_string("../examples/modules/sqlite3.lua").unwrap();
    let broker = Setup::new().file("sqlite3.lua", example).start();
    let answer = broker.post("/modules.sqlite3", "ann 5\nbob 7\nann 4\n");
    assert_eq!(answer.only_payload(), r##"[{"name":"ann","sum":9},{"name":"bob","sum":7}]"##);
}
