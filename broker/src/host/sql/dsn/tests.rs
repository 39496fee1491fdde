//! Each form, and what is none.

use proptest::prelude::*;

use super::*;

fn tcp(host: &str, port: u16) -> Place {
    Place::Tcp { host: host.to_owned(), port }
}

#[test]
fn gos_mysql_form() {
    let dsn =
        parse("us:p@ss/w:rd@tcp(db.example:3307)/shop?charset=utf8mb4,utf8&parseTime=true&tls=skip-verify")
            .unwrap();
    assert_eq!((dsn.driver, dsn.place, dsn.tls), (Driver::MySql, tcp("db.example", 3307), Tls::Require));
    assert_eq!((&*dsn.user, &*dsn.password, &*dsn.database), ("us", "p@ss/w:rd", "shop"));
    assert_eq!(dsn.charset, "utf8mb4");
    for (text, place) in [
        ("/", tcp("127.0.0.1", 3306)),
        ("u@/d", tcp("127.0.0.1", 3306)),
        ("u@tcp/d", tcp("127.0.0.1", 3306)),
        ("u@tcp(h)/d", tcp("h", 3306)),
        ("u@tcp([::1]:7)/d", tcp("::1", 7)),
        ("mysql://u:p@h:7/d", tcp("h", 7)),
        ("u@unix(/run/x.sock)/d", Place::Unix { path: "/run/x.sock".into(), port: 3306 }),
    ] {
        assert_eq!(parse(text).unwrap().place, place, "{text}");
    }
    let failed = |text| parse(text).unwrap_err().to_string();
    assert_eq!(failed("nonsense"), "invalid DSN: missing the slash separating the database name");
    assert_eq!(failed("u@tcp(h/d"), "invalid DSN: network address not terminated (missing closing brace)");
    assert_eq!(failed("oracle://x"), "sql: unknown driver \"oracle\" (forgotten import?)");
    assert!(parse("u@udp(h)/d").is_err() && parse("u@tcp(h:0)/d").is_err() && parse("u@tcp(h:x)/d").is_err());
    assert!(parse("u@/d?tls=custom").is_err() && parse("u@/%ff").is_err());
}

#[test]
fn postgres_forms() {
    let url =
        parse("postgres://u%40x:p%2Fw@db.example:7/shop?sslmode=verify-full&connect_timeout=9").unwrap();
    let list = parse(
        r"postgres://host=db.example port=7 user='u@x' password='p/w' dbname = shop sslmode=verify-full",
    )
    .unwrap();
    assert_eq!(url, list);
    assert_eq!((url.driver, url.place, url.tls), (Driver::Postgres, tcp("db.example", 7), Tls::Verify));
    assert_eq!((&*url.user, &*url.password, &*url.database), ("u@x", "p/w", "shop"));
    assert_eq!(parse(r"postgres://password='it\'s \\ me' host=h").unwrap().password, r"it's \ me");
    let plain = parse("postgresql://h").unwrap();
    assert_eq!((plain.place, plain.tls, &*plain.user), (tcp("h", 5432), Tls::Prefer, "postgres"));
    let socket = Place::Unix { path: "/run/postgresql".into(), port: 5432 };
    assert_eq!(parse("postgres:///shop?host=/run/postgresql").unwrap().place, socket);
    for text in [
        "postgres://host='x",
        "postgres://host=a,b",
        "postgres://h/?sslmode=maybe",
        "postgres://host=x\\",
        "postgres://port=x",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn names() {
    assert!(is_name("orders") && is_name("orders-2.x_y"));
    assert!(!is_name("") && !is_name("u@/d") && !is_name("a b") && !is_name("mysql://x"));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "((postgres|mysql)://)?((host|port|sslmode)=)?\\PC{0,40}") {
        let _ = parse(&text);
    }
}
