use super::super::super::Ctx;
use super::super::super::testing::{Value, array, call};
use super::{CLASS, ID, TAG, find_attr, find_attrs, find_text};

const PAGE: &str = r#"<!DOCTYPE html><title>T</title><body><h1 id="one" class="big red" href="/1">First <b>bold</b></h1>
    <H1 id=two class=red>Second</H1><div class="red"><p class="red">inner</p></div>
    <table>foster<tr><td>cell</table><script>code()</script>"#;

fn list(results: &[Value]) -> &Value {
    assert_eq!(results.len(), 1, "{results:?}");
    &results[0]
}

#[test]
fn texts_are_found_by_tag_class_and_id() {
    let mut ctx = Ctx::default();
    let found = call(find_text::<TAG>, &mut ctx, &[PAGE.into(), "h1".into()]).unwrap();
    assert_eq!(*list(&found), array(["First bold".into(), "Second".into()]));
    // What is within a match is no match of its own.
    let found = call(find_text::<CLASS>, &mut ctx, &[PAGE.into(), "red".into()]).unwrap();
    assert_eq!(*list(&found), array(["First bold".into(), "Second".into(), "inner".into()]));
    let found = call(find_text::<ID>, &mut ctx, &[PAGE.into(), "two".into()]).unwrap();
    assert_eq!(*list(&found), array(["Second".into()]));
    let none = call(find_text::<ID>, &mut ctx, &[PAGE.into(), "three".into()]).unwrap();
    assert_eq!(*list(&none), array([]));
}

#[test]
fn unknown_tags_stand_for_the_page() {
    let all = "T First bold Second inner foster cell code()";
    for tag in ["H1", "my-tag", ""] {
        let found = call(find_text::<TAG>, &mut Ctx::default(), &[PAGE.into(), tag.into()]).unwrap();
        assert_eq!(*list(&found), array([all.into()]));
    }
}

#[test]
fn attributes_are_found() {
    let mut ctx = Ctx::default();
    let found = call(find_attr::<TAG>, &mut ctx, &[PAGE.into(), "href".into(), "h1".into()]).unwrap();
    assert_eq!(*list(&found), array(["/1".into(), "".into()]));
    let args = [PAGE.into(), 2.0.into(), "id".into(), "href".into(), "h1".into()];
    let found = call(find_attrs::<TAG>, &mut ctx, &args).unwrap();
    let map =
        |id: &str, href: &str| Value::Table(vec![("id".into(), id.into()), ("href".into(), href.into())]);
    assert_eq!(*list(&found), array([map("one", "/1"), map("two", "")]));
}

#[test]
fn arguments_are_loose() {
    let mut ctx = Ctx::default();
    for args in [vec![], vec![Value::Nil, true.into()], vec![PAGE.into(), 1e300.into(), "x".into()]] {
        call(find_text::<TAG>, &mut ctx, &args).unwrap();
        call(find_attr::<CLASS>, &mut ctx, &args).unwrap();
        call(find_attrs::<ID>, &mut ctx, &args).unwrap();
    }
    call(find_text::<TAG>, &mut ctx, &[Value::from(&b"<p>\xff\xfe"[..]), "p".into()]).unwrap();
}

#[test]
fn hostile_pages_end() {
    let mut ctx = Ctx::default();
    let deep = "<div>".repeat(100_000);
    let found = call(find_text::<TAG>, &mut ctx, &[deep.as_str().into(), "p".into()]).unwrap();
    assert_eq!(found, [Value::Nil, "html: elements nest too deeply".into()]);
    let mut wide = "<p".to_owned();
    for number in 0..1_000_000 {
        wide.push_str(&format!(" a{number}"));
    }
    let found = call(find_text::<TAG>, &mut ctx, &[wide.as_str().into(), "p".into()]).unwrap();
    assert_eq!(found, [Value::Nil, "html: a tag has too many attributes".into()]);
    let flat = "<p>x".repeat(50_000);
    let found = call(find_text::<TAG>, &mut ctx, &[flat.as_str().into(), "p".into()]).unwrap();
    assert!(matches!(list(&found), Value::Table(items) if items.len() == 50_000));
}
