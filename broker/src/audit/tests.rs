use super::*;

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_strangers_say_stays_one_field() {
    let hostile = "x\"}\n{\"event\":\"started\"}\r\u{1b}[2J\u{9b}2J\u{202e}\u{2028}\\\u{0}\u{1F600}é";
    let event = Event { tenant: "acme", text: hostile, client: hostile, ..Event::default() };
    let text = line::json(Act::Refused, &event);
    assert!(text.ends_with("}\n") && text.bytes().filter(|byte| *byte == b'\n').count() == 1);
    assert!(text.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["event"], &value["text"]), (&"refused".into(), &hostile.into()));
    assert!(value.get("subject").is_none(), "what is not known is left out");
}

#[test]
fn values_have_an_end() {
    let long = "é".repeat(100_000);
    let text = line::json(Act::Refused, &Event { subject: &long, ..Event::default() });
    assert!(text.len() < 8000, "{}", text.len());
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn a_file_is_appended_to_and_opened_again() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
    open(Some(&path)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    record(Act::Started, &Event::told("one"));
    std::fs::rename(&path, &moved).unwrap();
    record(Act::Started, &Event::told("two"));
    open(Some(&path)).unwrap();
    record(Act::Started, &Event::told("three"));
    close();
    assert_eq!(
        lines(&moved).iter().map(|line| line["text"].as_str().unwrap()).collect::<Vec<_>>(),
        ["one", "two"]
    );
    assert_eq!(lines(&path)[0]["text"], "three");
    assert!(open(Some(&folder.path().join("no/such"))).is_err());
}

#[test]
fn a_tenant_has_its_share_of_lines_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    open(Some(&path)).unwrap();
    for _ in 0..5000 {
        record(Act::Refused, &Event { tenant: "loud", ..Event::default() });
    }
    record(Act::Refused, &Event { tenant: "quiet", ..Event::default() });
    close();
    let lines = lines(&path);
    let of = |event: &str, tenant: &str| {
        lines.iter().filter(|line| line["event"] == event && line["tenant"] == tenant).collect::<Vec<_>>()
    };
    let told: u64 = of("omitted", "loud").iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(of("refused", "loud").len() as u64 + told, 5000);
    assert!(of("refused", "loud").len() < 2000);
    assert_eq!(of("refused", "quiet").len(), 1);
}

#[test]
fn a_file_that_takes_nothing_keeps_nobody_waiting() {
    open(Some(Path::new("/dev/full"))).unwrap();
    for _ in 0..20_000 {
        record(Act::Started, &Event::default());
    }
    close();
}
