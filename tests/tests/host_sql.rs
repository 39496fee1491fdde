//! `mysql` and `postgres`, against real servers.

use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::servers::{MariaDb, PASSWORD, Postgres, free_port};

/// Defines `run(statement, …)`, which says what came of each, and calls `test`.
const SAY: &str = r##"
    local mysql, postgres, json = require("mysql"), require("postgres"), require("json")
    local out
    function say(...)
      local parts = {}
      for i = 1, select("#", ...) do
        local part = select(i, ...)
        parts[i] = type(part) == "table" and json.encode(part) or tostring(part)
      end
      out[#out + 1] = table.concat(parts, " ")
    end
    function connected(module, target)
      local db = module.new()
      local ok, err = db:connect(target)
      if not ok then say("not connected: " .. err) end
      return db
    end
    function OnMessage(subject, payload)
      out = {}
      test(payload, mysql, postgres)
      return table.concat(out, "\n")
    end
"##;

fn setup(lua: &str) -> Setup {
    Setup::new().lua("s", &format!("{SAY}\nfunction test(payload, mysql, postgres)\n{lua}\nend"))
}

fn ask(broker: &Broker, payload: &str) -> String {
    let answer = broker.post("/s?_timeout=30s", payload);
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), broker.log());
    answer.only_payload()
}

fn mysql_dsn(server: &MariaDb) -> String {
    format!("script:{PASSWORD}@tcp(127.0.0.1:{})/shop", server.port)
}

fn postgres_dsn(server: &Postgres) -> String {
    format!(
        "postgres://host=127.0.0.1 port={} user=script password='{PASSWORD}' dbname=shop sslmode=disable",
        server.port
    )
}

#[test]
fn mysql_rows() {
    let server = MariaDb::shared();
    let lua = r##"
        local db = connected(mysql, "DSN")
        say(mysql._VERSION, mysql._DEBUG, type(db), db:set_keepalive(1000, 2))
        say(db:query("CREATE OR REPLACE TABLE types (i INT, u BIGINT UNSIGNED, t TINYINT, f FLOAT, d DOUBLE, " ..
          "m DECIMAL(10,2), s VARCHAR(20), x BLOB, b BIT(8), e ENUM('a','b'), y YEAR, j JSON, " ..
          "da DATE, dt DATETIME(6), ts TIMESTAMP NULL, ti TIME, n INT)"))
        say(db:query("INSERT INTO types VALUES (-5, 18446744073709551615, 1, 0.1, 0.5, 12.30, 'é', 'x', b'1000001', 'b', " ..
          "2024, '{}', '2024-05-06', '2024-05-06 07:08:09.5', '2024-05-06 07:08:09', '-26:03:04', NULL)"))
        say(db:query("SELECT * FROM types"))
        say(db:query("SELECT * FROM types WHERE i = 0"))
        say(db:query("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e", 1, 0.5, "it's", true, nil))
        say(db:query("SELECT 1 AS x, 2 AS x"))
        say(db:query("SELECT ?"))
        say(db:query("selec"))
        say(db:query("SELECT * FROM nope"))
        say(db:query("SELECT 1; SELECT 2"))
        say(db:query("SELECT ?", {}))
        say(pcall(db.query, db, ""))
        say(db:close(), db:close(), select("#", db:query("SELECT 1")))
        say(db:set_keepalive(1, 1))
        "##;
    let broker = setup(&lua.replace("DSN", &mysql_dsn(&server))).start();
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0.0.0 false userdata true");
    assert_eq!(lines[1..3], ["[]", "[]"], "{text}");
    let row: serde_json::Value = serde_json::from_str(lines[3]).unwrap_or_else(|_| panic!("{text}"));
    let expected = serde_json::json!([{
        "i": -5, "u": 18_446_744_073_709_552_000_f64, "t": 1, "f": 0.100_000_001_490_116_12, "d": 0.5, "m": "12.30",
        "s": "é", "x": "x", "b": "A", "e": "b", "y": 2024, "j": "{}", "da": "2024-05-06",
        "dt": "2024-05-06 07:08:09.500000", "ts": "2024-05-06 07:08:09", "ti": "-26:03:04",
    }]);
    for (name, value) in expected[0].as_object().unwrap() {
        let found = &row[0][name];
        let same = found == value || found.as_f64().is_some_and(|found| Some(found) == value.as_f64());
        assert!(same, "{name}: {found}, not {value}");
    }
    assert_eq!(row[0].as_object().unwrap().len(), 16, "{text}");
    assert_eq!(lines[4], "[]");
    assert_eq!(lines[5], r##"[{"a":1,"b":0.5,"c":"it's","d":1}]"##);
    assert_eq!(lines[6], r##"[{"x":2}]"##);
    assert!(lines[7].starts_with("nil "), "{text}");
    assert!(lines[8].starts_with("nil Error 1064 (42000): You have an error in your SQL syntax"), "{text}");
    assert_eq!(lines[9], "nil Error 1146 (42S02): Table 'shop.nope' doesn't exist");
    assert!(lines[10].starts_with("nil Error 1064"), "{text}");
    assert!(lines[11].starts_with("nil sql: converting argument $1 type: unsupported type"), "{text}");
    assert!(lines[12].contains("query string required"), "{text}");
    assert_eq!(lines[13..], ["true true 0", "true connect required"], "{text}");
}

#[test]
fn postgres_rows() {
    let server = Postgres::shared();
    let lua = r##"
        local db = connected(mysql, "DSN")
        say(db:query("DROP TABLE IF EXISTS types"))
        say(db:query("CREATE TABLE types (i INT, l BIGINT, f REAL, d FLOAT8, m NUMERIC(10,2), s TEXT, x BYTEA, b BOOLEAN, " ..
          "j JSONB, u UUID, da DATE, ts TIMESTAMP, tz TIMESTAMPTZ, a INT[], n INT)"))
        say(db:query("INSERT INTO types VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)", -5, "9007199254740993",
          0.5, 0.1, "12.30", "it's \\ é", "x", true, "{}", "0b8f1f6e-0000-0000-0000-000000000001",
          "2024-05-06", "2024-05-06 07:08:09", "2024-05-06 07:08:09+02", "{1,2}", nil))
        say(db:query("SELECT * FROM types"))
        say(db:query("SELECT count(*), 'x' AS x, 'y' AS x FROM types WHERE i = $1", -5))
        say(db:query("SHOW server_encoding"))
        say(db:query("SELECT $1::int + $2::int AS sum", 1))
        say(db:query("selec"))
        say(db:query("SELECT * FROM nope"))
        say(db:query("SELECT 1; SELECT 2"))
        say(db:query("SELECT 1); DROP TABLE types; --"))
        say(db:query("SET work_mem = '1MB'; SELECT 1"))
        say(db:query("SELECT $1 AS a", "\0"))
        say(db:query("SELECT count(*) FROM types"))
        say(connected(postgres, {host = "127.0.0.1", port = PORT, user = "script", password = "PASS", database = "shop"})
          :query("SELECT current_user AS u"))
        "##;
    let lua = lua.replace("DSN", &postgres_dsn(&server)).replace("PORT", &server.port.to_string());
    let broker = setup(&lua.replace("PASS", PASSWORD)).start();
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["[]", "[]", "[]"], "{text}");
    let row: serde_json::Value = serde_json::from_str(lines[3]).unwrap_or_else(|_| panic!("{text}"));
    let expected = serde_json::json!([{
        "i": -5, "l": 9_007_199_254_740_992_i64, "f": 0.5, "d": 0.1, "m": "12.30", "s": "it's \\ é", "x": "\\x78",
        "b": true, "j": "{}", "u": "0b8f1f6e-0000-0000-0000-000000000001", "da": "2024-05-06",
        "ts": "2024-05-06 07:08:09", "tz": "2024-05-06 05:08:09+00", "a": "{1,2}",
    }]);
    assert_eq!(row, expected, "{text}");
    assert_eq!(lines[4], r##"[{"count":1,"x":"y"}]"##);
    assert_eq!(lines[5], r##"[{"server_encoding":"UTF8"}]"##);
    assert!(lines[6].starts_with("nil pq: wrong number of parameters"), "{text}");
    assert_eq!(lines[7], "nil pq: syntax error at or near \"selec\"");
    assert_eq!(lines[8], "nil pq: relation \"nope\" does not exist");
    for refused in &lines[9..13] {
        assert!(refused.starts_with("nil pq: "), "{text}");
    }
    assert_eq!(lines[13..], [r##"[{"count":1}]"##, r##"[{"u":"script"}]"##], "{text}");
}

#[test]
fn a_client_is_one_session_that_ends_with_the_run() {
    let (maria, postgres) = (MariaDb::shared(), Postgres::shared());
    let lua = r##"
        local db
        if payload == "mysql" then
          db = connected(mysql, "MYSQL")
          db:query("SET @kept = 5")
          say(db:query("SELECT @kept AS kept"))
        else
          db = connected(postgres, "POSTGRES")
          db:query("SET application_name = 'kept'")
          say(db:query("SELECT current_setting('application_name') AS kept"))
        end
        db:query("CREATE TABLE IF NOT EXISTS session (n INT)")
        say(db:query("BEGIN"))
        say(db:query("INSERT INTO session VALUES (1)"))
        say(db:query("SELECT count(*) AS n FROM session"))
        "##;
    let check = r##"
        if payload == "mysql" then
          local db = connected(mysql, "MYSQL")
          say(db:query("SELECT @kept AS kept"), db:query("SELECT count(*) AS n FROM session"))
        else
          local db = connected(postgres, "POSTGRES")
          say(db:query("SELECT current_setting('application_name') AS kept"), db:query("SELECT count(*) AS n FROM session"))
        end
        "##;
    let filled =
        |lua: &str| lua.replace("MYSQL", &mysql_dsn(&maria)).replace("POSTGRES", &postgres_dsn(&postgres));
    let broker = setup(&filled(lua))
        .lua("check", &format!("{SAY}\nfunction test(payload, mysql, postgres)\n{}\nend", filled(check)))
        .start();
    let begun = |kept: &str| format!("[{{\"kept\":{kept}}}]\n[]\n[]\n[{{\"n\":1}}]");
    assert_eq!(ask(&broker, "mysql"), begun("5"));
    assert_eq!(ask(&broker, "postgres"), begun("\"kept\""));
    let check = |payload: &str| broker.post("/check", payload).only_payload();
    assert_eq!(check("mysql"), "[{}] [{\"n\":0}]");
    assert_eq!(check("postgres"), "[{\"kept\":\"msgscript\"}] [{\"n\":0}]");
}

#[test]
fn connection_failures() {
    let (maria, postgres) = (MariaDb::shared(), Postgres::shared());
    let dead = free_port();
    let lua = r##"
        for _, dsn in ipairs {"nonsense", "oracle://x", "x@tcp(h/d", "u@unix(/run/mysqld/mysqld.sock)/d",
          "postgres:///d?host=/run/postgresql"} do
          say(mysql.new():connect(dsn))
        end
        local db = mysql.new()
        say(db:connect("u:p@tcp(127.0.0.1:DEAD)/d"), db:query("SELECT 1"))
        say(db:connect("script:wrong@tcp(127.0.0.1:MYPORT)/shop"), db:query("SELECT 1"))
        say(db:connect("postgres://script:wrong@127.0.0.1:PGPORT/shop"), db:query("SELECT 1"))
        say(db:connect({user = "u", host = "127.0.0.1", port = DEAD}), db:query("SELECT 1"))
        say(pcall(db.connect, db, {}))
        say(db:connect("u@tcp(169.254.169.254:3306)/d"), db:query("SELECT 1"))
        say(db:connect("postgres://u@[fe80::1]:5432/d"), db:query("SELECT 1"))
        say(db:connect("u@tcp(127.0.0.1:" .. payload .. ")/d"), db:query("SELECT 1"))
        "##;
    let lua = lua.replace("DEAD", &dead.to_string()).replace("MYPORT", &maria.port.to_string());
    let broker = setup(&lua.replace("PGPORT", &postgres.port.to_string())).start();
    let text = ask(&broker, &broker.http().port().to_string());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "false invalid DSN: missing the slash separating the database name");
    assert_eq!(lines[1], "false sql: unknown driver \"oracle\" (forgotten import?)");
    assert!(lines[2].starts_with("false invalid DSN: network address not terminated"), "{text}");
    assert!(lines[3].starts_with("false denied: ") && lines[4].starts_with("false denied: "), "{text}");
    assert_eq!(lines[5], format!("true nil dial tcp 127.0.0.1:{dead}: connect: connection refused"));
    assert!(lines[6].starts_with("true nil Error 1045 (28000): Access denied"), "{text}");
    assert_eq!(lines[7], "true nil pq: password authentication failed for user \"script\"");
    assert!(lines[8].contains("connection refused"), "{text}");
    assert!(lines[9].contains("options or connection string excepted"), "{text}");
    for refused in &lines[10..13] {
        assert!(refused.contains("denied: default has no grant to reach"), "{text}");
    }
}

#[test]
fn configured_databases() {
    let (maria, postgres) = (MariaDb::shared(), Postgres::shared());
    let folder = tempfile::TempDir::new().unwrap();
    let url = folder.path().join("url");
    let escaped = PASSWORD.replace('/', "%2F").replace('@', "%40").replace(':', "%3A");
    std::fs::write(&url, format!("postgres://script:{escaped}@127.0.0.1:{}/shop\n", postgres.port)).unwrap();
    let config = format!(
        "[database.shop]\nurl = \"script:{{{{secret:db}}}}@tcp(127.0.0.1:{})/shop\"\n\
         [database.counts]\nfile = \"{}\"\n[database.lost]\nfile = \"/nonexistent\"\n\
         [secret.db]\nenv = \"DB_PASSWORD\"\nhosts = [\"127.0.0.1\"]\n\
         [secret.elsewhere]\nenv = \"DB_PASSWORD\"\nhosts = [\"db.example\"]\n",
        maria.port,
        url.display()
    );
    let lua = format!(
        r##"
        say(connected(mysql, "shop"):query("SELECT database() AS d"))
        say(connected(postgres, "counts"):query("SELECT current_database() AS d"))
        say(mysql.new():connect("lost"))
        say(mysql.new():connect("unknown"))
        local db = mysql.new()
        say(db:connect("script:{{{{secret:db}}}}@tcp(127.0.0.1:{0})/shop"), db:query("SELECT 1 AS n"))
        say(db:connect("script:{{{{secret:elsewhere}}}}@tcp(127.0.0.1:{0})/shop"), db:query("SELECT 1 AS n"))
        "##,
        maria.port
    );
    let broker = setup(&lua).config(&config).env("DB_PASSWORD", PASSWORD).start();
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], [r##"[{"d":"shop"}]"##, r##"[{"d":"shop"}]"##], "{text}");
    assert_eq!(lines[2], "false the URL of the database lost cannot be read");
    assert!(lines[3].starts_with("false "), "{text}");
    assert_eq!(lines[4], r##"true [{"n":1}]"##, "{text}");
    assert!(lines[5].contains("denied: "), "{text}");
    assert!(!text.contains(PASSWORD) && !broker.log().contains(PASSWORD), "{text}\n{}", broker.log());
}

#[test]
fn limits() {
    let (maria, postgres) = (MariaDb::shared(), Postgres::shared());
    let lua = r##"
        local my, pg = connected(mysql, "MYSQL"), connected(postgres, "POSTGRES")
        if payload == "long" then
          local slow = mysql.new()
          slow:set_timeout(200)
          slow:connect("MYSQL")
          say(slow:query("SELECT SLEEP(100)"))
          say(slow:query("SELECT 1 AS n"))
        elseif payload == "mysql" then
          my:query("SELECT SLEEP(100) AS msgscript_test")
        elseif payload == "postgres" then
          pg:query("SELECT pg_sleep(100), 'msgscript_test'")
        elseif payload == "look" then
          say(my:query("SELECT count(*) AS n FROM information_schema.processlist WHERE info LIKE '%msgscript\\_test%' AND id <> connection_id()"))
          say(pg:query("SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%msgscript\\_test%' AND pid <> pg_backend_pid() AND state = 'active'"))
        else
          say(my:query("SELECT REPEAT('x', 1000000) AS x FROM seq_1_to_100"))
          say(pg:query("SELECT repeat('x', 1000000) AS x FROM generate_series(1, 100)"))
          say(my:query("SELECT seq FROM seq_1_to_10000000"))
          say(pg:query("SELECT generate_series(1, 10000000)"))
          say(pg:query("SELECT repeat('x', 500000000)"))
        end
        "##;
    let lua = lua.replace("MYSQL", &mysql_dsn(&maria)).replace("POSTGRES", &postgres_dsn(&postgres));
    let broker = setup(&lua).args(&["--timeout", "10s"]).start();
    assert_eq!(ask(&broker, "long"), "nil context deadline exceeded\n[{\"n\":1}]");
    for line in ask(&broker, "").lines() {
        assert_eq!(line, "nil limit of bytes that host calls may bring in reached");
    }
    // What nobody waits for any more ends on the server too.
    let quick = setup(&lua).args(&["--timeout", "1s"]).start();
    let _ = quick.post("/s", "mysql");
    let _ = quick.post("/s", "postgres");
    quick.post_until("/s", "look", |answer| answer.only_payload() == "[{\"n\":0}]\n[{\"n\":0}]");
}

#[test]
fn files_of_the_broker_are_not_sent() {
    let server = MariaDb::shared();
    let lua = r##"
        local db = connected(mysql, "DSN")
        db:query("CREATE OR REPLACE TABLE loaded (line TEXT)")
        say(db:query("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE loaded"))
        say(connected(mysql, "DSN"):query("SELECT count(*) AS n FROM loaded"))
        "##;
    let broker = setup(&lua.replace("DSN", &mysql_dsn(&server))).start();
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("nil "), "{text}");
    assert_eq!(lines[1], "[{\"n\":0}]", "{text}");
}

#[test]
fn rights_are_the_roles() {
    let server = Postgres::shared();
    let lua = r##"
        local db = connected(postgres, "DSN")
        say(db:query("SELECT pg_read_file('/etc/passwd')"))
        say(db:query("COPY (SELECT 1) TO PROGRAM 'touch /tmp/msgscript-copied'"))
        say(db:query("SET ROLE postgres"))
        say(db:query("COPY (SELECT 1) TO STDOUT"))
        say(db:query("SELECT 1 AS n"))
        "##;
    let broker = setup(&lua.replace("DSN", &postgres_dsn(&server))).start();
    let text = ask(&broker, "");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[..4].iter().all(|line| line.starts_with("nil ")), "{text}");
    assert_eq!(lines[4], "[{\"n\":1}]", "{text}");
}

#[test]
fn the_examples_answer() {
    let (maria, postgres) = (MariaDb::shared(), Postgres::shared());
    let config = format!(
        "[database.shop]\nurl = \"{}\"\n[database.counts]\nurl = \"{}\"\n",
        mysql_dsn(&maria),
        postgres_dsn(&postgres)
    );
    let example = |name: &str| std::fs::read_to_string(format!("../examples/modules/{name}.lua")).unwrap();
    let broker = Setup::new()
        .config(&config)
        .file("mysql.lua", example("mysql"))
        .file("postgres.lua", example("postgres"))
        .start();
    let ask = |path: &str, payload: &str| broker.post(path, payload).only_payload();
    assert!(ask("/modules.mysql", "first").contains(r##"{"note":"first"}"##));
    assert_eq!([ask("/modules.postgres", "a"), ask("/modules.postgres", "a")], ["1", "2"]);
}
