//! The file store: a folder of scripts that is kept current while the broker runs.

use msgscript_tests::harness::{Broker, Setup};

fn script(subject: &str, name: &str, answer: &str) -> String {
    format!("--* subject: {subject}\n--* name: {name}\nfunction OnMessage() return '{answer}' end\n")
}

fn becomes(broker: &Broker, subject: &str, name: &str, answer: &str) {
    broker.post_until(&format!("/{subject}"), "", |response| {
        response.status == 200 && response.json()[name].is_object() && response.payload(name) == answer
    });
}

#[test]
fn a_folder_is_read_with_what_is_below_it() {
    let broker = Setup::new()
        .file("top.lua", script("top", "top", "top"))
        .file("a/b/c/deep.lua", script("deep", "deep", "deep"))
        .file("a/libs/helper.lua", script("helper", "helper", "wrong"))
        .file("libs/other.lua", script("other", "other", "wrong"))
        .file("notes.txt", script("notes", "notes", "wrong"))
        .file("page.lua.bak", script("backup", "backup", "wrong"))
        .file("empty.lua", "")
        .start();
    assert_eq!(broker.call("top", ""), "top");
    assert_eq!(broker.call("deep", ""), "deep");
    for subject in ["helper", "other", "notes", "backup"] {
        assert_eq!(broker.post(&format!("/{subject}"), "").status, 404, "{subject}");
    }
    // An empty file has no subject: said, and harmless.
    broker.wait_for_words(&["empty.lua", "subject"]);
}

#[test]
fn the_library_folder_within_the_scripts_is_left_out() {
    let broker = Setup::new()
        .file("mylib/util.lua", "--* subject: util\n--* name: util\nlocal util = 'util'\n")
        .lua("user", "--* require: util\nfunction OnMessage() return util end")
        .start();
    // By default `libs` is the library folder; this one is just a folder of scripts.
    assert_eq!(broker.fail("user", "").0.status, 500);
    drop(broker);
    let broker = Setup::new()
        .file("libs/util.lua", "local util = 'util'\n")
        .lua("user", "--* require: util\nfunction OnMessage() return util end")
        .start();
    assert_eq!(broker.call("user", ""), "util");
}

#[test]
fn changes_take_effect_without_a_restart() {
    let broker = Setup::new()
        .library("lib.lua", "local version = 'lib one'\n")
        .lua("uses", "--* require: lib\nfunction OnMessage() return version end")
        .lua("late", "function OnMessage() return require('mod').version end")
        .library("mod.lua", "return { version = 'mod one' }\n")
        .file("edit.lua", script("edit", "edit", "one"))
        .file("gone.lua", script("gone", "gone", "here"))
        .file("move.lua", script("move", "move", "moved"))
        .file("folder/in.lua", script("infolder", "in", "in"))
        .start();
    assert_eq!(broker.call("edit", ""), "one");
    assert_eq!(broker.call("gone", ""), "here");
    assert_eq!(broker.call("uses", ""), "lib one");
    assert_eq!(broker.call("late", ""), "mod one");

    broker.write("edit.lua", script("edit", "edit", "two"));
    becomes(&broker, "edit", "edit", "two");

    broker.write("new/folder/fresh.lua", script("fresh", "fresh", "fresh"));
    becomes(&broker, "fresh", "fresh", "fresh");

    std::fs::remove_file(broker.scripts().join("gone.lua")).expect("removed");
    broker.post_until("/gone", "", |response| response.status == 404);

    std::fs::rename(broker.scripts().join("move.lua"), broker.scripts().join("moved.lua")).expect("renamed");
    broker.write("mark.lua", script("mark", "mark", "mark"));
    becomes(&broker, "mark", "mark", "mark");
    assert_eq!(broker.call("move", ""), "moved");
    broker.write("moved.lua", "--* subject: move\n--* name: move\nfunction OnMessage() error('x') end\n");
    broker.post_until("/move", "", |response| response.text().contains("moved.lua:3:"));

    // Another subject in the header: the old one goes.
    broker.write("edit.lua", script("edited", "edit", "three"));
    becomes(&broker, "edited", "edit", "three");
    broker.post_until("/edit", "", |response| response.status == 404);

    broker.write_library("lib.lua", "local version = 'lib two'\n");
    becomes(&broker, "uses", "uses", "lib two");
    broker.write_library("mod.lua", "return { version = 'mod two' }\n");
    becomes(&broker, "late", "late", "mod two");

    // A library that breaks its users is not taken; the last good version of the script stays.
    broker.write_library("lib.lua", "local version = = 'lib three'\n");
    broker.wait_for_words(&["lib.lua:1:"]);
    assert_eq!(broker.call("uses", ""), "lib two");

    // As editors save: a new file that takes the old one's name.
    let temporary = broker.scripts().join("edit.tmp");
    std::fs::write(&temporary, script("edited", "edit", "four")).expect("written");
    std::fs::rename(&temporary, broker.scripts().join("edit.lua")).expect("renamed");
    becomes(&broker, "edited", "edit", "four");

    std::fs::rename(broker.scripts().join("folder"), broker.scripts().join("renamed")).expect("renamed");
    broker.write("renamed/in.lua", script("infolder", "in", "in two"));
    becomes(&broker, "infolder", "in", "in two");
    std::fs::remove_dir_all(broker.scripts().join("renamed")).expect("removed");
    broker.post_until("/infolder", "", |response| response.status == 404);
}

#[test]
fn a_script_that_was_broken_at_the_start_can_be_mended() {
    let broker =
        Setup::new().file("broken.lua", "--* subject: broken\n--* name: broken\nfunction (\n").start();
    let (response, error) = broker.fail("broken", "");
    assert_eq!(response.status, 500);
    assert!(error.contains("broken.lua:3:"), "{error}");
    broker.write("broken.lua", script("broken", "broken", "mended"));
    becomes(&broker, "broken", "broken", "mended");
    // Broken again, then removed: nothing is left of it.
    broker.write("broken.lua", "--* subject: broken\n--* name: broken\n\n\nfunction (\n");
    broker.wait_for_words(&["broken.lua:5:"]);
    assert_eq!(broker.call("broken", ""), "mended");
    std::fs::remove_file(broker.scripts().join("broken.lua")).expect("removed");
    broker.post_until("/broken", "", |response| response.status == 404);
}

#[test]
fn two_files_with_one_identity_are_told_apart_by_the_log() {
    let broker = Setup::new()
        .file("first.lua", script("same", "same", "first"))
        .file("second.lua", script("same", "same", "second"))
        .start();
    let event = broker.wait_for_words(&["first.lua", "second.lua"]);
    assert!(event["level"] == "WARN" || event["level"] == "ERROR", "{event}");
    // One of them serves, always the same.
    let answer = broker.call("same", "");
    for _ in 0..4 {
        assert_eq!(broker.call("same", ""), answer);
    }
    let (kept, other) = if answer == "first" { ("first", "second") } else { ("second", "first") };
    std::fs::remove_file(broker.scripts().join(format!("{kept}.lua"))).expect("removed");
    becomes(&broker, "same", "same", other);
}

#[test]
fn links_do_not_lead_out_of_the_folder() {
    let outside = tempfile::TempDir::new().expect("a folder");
    std::fs::write(outside.path().join("secret.lua"), script("secret", "secret", "out")).expect("written");
    let broker = Setup::new().file("inside.lua", script("inside", "inside", "in")).start();
    std::os::unix::fs::symlink(outside.path().join("secret.lua"), broker.scripts().join("link.lua"))
        .expect("linked");
    std::os::unix::fs::symlink(outside.path(), broker.scripts().join("folder")).expect("linked");
    std::os::unix::fs::symlink(broker.scripts(), broker.scripts().join("loop")).expect("linked");
    // Something that is seen later shows that the links have been looked at.
    broker.write("later.lua", script("later", "later", "later"));
    becomes(&broker, "later", "later", "later");
    assert_eq!(broker.post("/secret", "").status, 404);
    assert_eq!(broker.call("inside", ""), "in");
}
