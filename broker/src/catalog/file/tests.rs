//! The file store on real folders, watched by real inotify.

use super::*;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

/// A folder that a store follows.
struct Fixture {
    root: tempfile::TempDir,
    tenancy: watch::Sender<Rc<Tenancy>>,
    catalog: Catalog,
    checked: Rc<RefCell<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Checked = Rc<RefCell<Vec<String>>>;

/// A compiler that dislikes the word BAD.
fn compiler(checked: &Checked) -> impl AsyncFn(&Rc<Script>) -> Result<(), String> + use<> {
    let checked = checked.clone();
    async move |script: &Rc<Script>| {
        tokio::task::yield_now().await;
        checked.borrow_mut().push(script.source.name.to_string());
        let bad = |part: &&super::super::Part| part.text.windows(3).any(|word| word == b"BAD");
        match script.parts.iter().find(bad) {
            Some(part) => Err(format!("{}:3: BAD is no statement", part.name)),
            None => Ok(()),
        }
    }
}

impl Fixture {
    async fn new(files: &[(&str, &str)]) -> Fixture {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(root.path(), name, text);
        }
        let checked = Checked::default();
        let folders = Folders::new(root.path(), None);
        let catalog = Catalog::default();
        let tenancy = watch::Sender::new(Rc::new(Tenancy::default()));
        let changes = tenancy.subscribe();
        let store = FileStore::open(folders, catalog.clone(), changes, compiler(&checked)).await.unwrap();
        Fixture { root, tenancy, catalog, checked, task: tokio::task::spawn_local(store.follow()) }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.root.path(), name, text);
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.root.path().join(name)).unwrap();
    }

    fn script(&self, subject: &str) -> Option<Rc<Script>> {
        self.catalog.current().index.by_pattern(subject).first().cloned()
    }

    fn problems(&self) -> Vec<String> {
        self.catalog.current().problems.iter().map(ToString::to_string).collect()
    }

    /// Waits until it is so; fails after the second that users are promised.
    async fn within_a_second(&self, what: &str, so: impl Fn(&Fixture) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "not within a second: {what}\n{:?}",
                self.problems()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn text(subject: &str, rest: &str) -> String {
    format!("--* subject: {subject}\n--* name: n\n{rest}\n")
}

fn text_of(script: &Script) -> String {
    script.parts.iter().map(|part| String::from_utf8_lossy(&part.text).into_owned()).collect()
}

/// Runs a test as the broker runs: one thread, a local set.
fn no_tenants() -> watch::Receiver<Rc<Tenancy>> {
    watch::Sender::new(Rc::new(Tenancy::default())).subscribe()
}

fn local(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

#[test]
fn one_bad_script_rejects_only_itself() {
    local(async || {
        let it = Fixture::new(&[
            ("good.lua", &text("good", "")),
            ("deep/also.lua", &text("also", "")),
            ("http.lua", "--* subject: h\n--* name: n\n--* http: maybe\n"),
            ("syntax.lua", &text("syntax", "BAD")),
            ("nameless.lua", "--* subject: x\n"),
            ("needs.lua", &text("needs", "--* require: none")),
            ("libs/lib.lua", "local x\n"),
        ])
        .await;
        let expected = [
            "http.lua:3: bad `http`: `maybe` is neither true nor false",
            "nameless.lua:1: there is no `name`; add a line `--* name: …` at the top",
            "needs.lua:3: library `none`, required by needs.lua, does not exist",
            "syntax.lua:3: BAD is no statement",
        ];
        assert_eq!(it.problems(), expected);
        for (subject, broken) in
            [("good", None), ("also", None), ("h", Some(0)), ("needs", Some(2)), ("syntax", Some(3))]
        {
            let script = it.script(subject).unwrap();
            assert_eq!(script.broken.as_deref(), broken.map(|n: usize| expected[n]), "{subject}");
        }
        assert!(it.script("x").is_none());
        assert_eq!(&*it.script("also").unwrap().source.name, "deep/also.lua");
    });
}

#[test]
fn changes_are_in_service_within_a_second() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("a", "one")), ("same.lua", &text("same", ""))]).await;
        let same = it.script("same").unwrap();
        let mut changes = it.catalog.changes();

        it.write("a.lua", &text("a", "two"));
        it.within_a_second("edit", |it| text_of(&it.script("a").unwrap()).contains("two")).await;
        changes.changed().await.unwrap();
        it.write("new/b.lua", &text("b", ""));
        it.within_a_second("a file in a new folder", |it| it.script("b").is_some()).await;
        it.write("new/b2.lua", &text("b2", ""));
        it.within_a_second("a file in a folder made since", |it| it.script("b2").is_some()).await;
        it.write(".a.tmp", &text("a", "three"));
        fs::rename(it.root.path().join(".a.tmp"), it.root.path().join("a.lua")).unwrap();
        it.within_a_second("an editor's rename", |it| text_of(&it.script("a").unwrap()).contains("three"))
            .await;
        it.remove("a.lua");
        it.within_a_second("removal", |it| it.script("a").is_none()).await;
        fs::remove_dir_all(it.root.path().join("new")).unwrap();
        it.within_a_second("removal of a folder", |it| it.script("b").is_none()).await;

        assert!(Rc::ptr_eq(&same, &it.script("same").unwrap()), "an unchanged script stays what it is");
        let checks = it.checked.borrow().iter().filter(|name| *name == "same.lua").count();
        assert_eq!(checks, 1);
    });
}

#[test]
fn the_last_good_version_stays_in_service() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("a", "good"))]).await;
        let good = it.script("a").unwrap();
        for bad in
            [text("a", "BAD"), text("a", "--* executor: js"), text("a", "--* require: x"), String::new()]
        {
            it.write("a.lua", &bad);
            it.within_a_second(&bad, |it| it.problems().len() == 1 + usize::from(bad.is_empty())).await;
            assert!(Rc::ptr_eq(&good, &it.script("a").unwrap()));
            it.write("a.lua", &text("a", "good"));
            it.within_a_second("repair", |it| it.problems().is_empty()).await;
            assert!(Rc::ptr_eq(&good, &it.script("a").unwrap()), "the same text is the same version");
        }
        it.write("a.lua", &text("a", "better"));
        it.within_a_second("edit", |it| it.script("a").unwrap().id > good.id).await;
    });
}

#[test]
fn a_script_that_was_never_good_answers_with_the_reason_until_it_is() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("a", "BAD"))]).await;
        assert_eq!(it.script("a").unwrap().broken.as_deref(), Some("a.lua:3: BAD is no statement"));
        it.write("a.lua", &text("a", "good"));
        it.within_a_second("repair", |it| it.script("a").unwrap().broken.is_none()).await;
        assert_eq!(it.problems(), [""; 0]);
    });
}

#[test]
fn libraries_reach_their_scripts() {
    local(async || {
        let needs = text("a", "--* require: web\nbody");
        let it = Fixture::new(&[
            ("a.lua", &needs),
            ("other.lua", &text("other", "")),
            ("libs/w.lua", "--* name: web\none\n"),
            ("libs/z.lua", "--* name: web\n"),
        ])
        .await;
        let (first, other) = (it.script("a").unwrap(), it.script("other").unwrap());
        let names: Vec<_> = first.parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, ["web.lua", "a.lua"]);
        assert_eq!(it.problems(), ["z.lua: library `web` is already in w.lua; this one is left out"]);
        it.remove("libs/z.lua");

        it.write("libs/w.lua", "--* name: web\ntwo\n");
        it.within_a_second("library edit", |it| text_of(&it.script("a").unwrap()).contains("two")).await;
        assert!(Rc::ptr_eq(&other, &it.script("other").unwrap()));

        it.write("libs/w.lua", "--* name: web\nBAD\n");
        let expected = "a.lua: web.lua:3: BAD is no statement";
        it.within_a_second("bad library", |it| it.problems() == [expected]).await;
        assert!(text_of(&it.script("a").unwrap()).contains("two"));

        it.remove("libs/w.lua");
        let expected = "a.lua:3: library `web`, required by a.lua, does not exist";
        it.within_a_second("library removal", |it| it.problems() == [expected]).await;
        assert!(text_of(&it.script("a").unwrap()).contains("two"));
        assert!(it.catalog.current().libraries.shared.get("web").unwrap().is_none());
    });
}

#[test]
fn of_two_with_one_identity_the_first_by_path_counts() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("s", "first")), ("b.lua", &text("s", "second"))]).await;
        assert_eq!(it.problems(), ["b.lua: subject `s` and name `n` are already those of a.lua"]);
        assert!(text_of(&it.script("s").unwrap()).contains("first"));
        it.remove("a.lua");
        it.within_a_second("succession", |it| text_of(&it.script("s").unwrap()).contains("second")).await;
        assert_eq!(it.problems(), [""; 0]);
    });
}

#[test]
fn an_edited_subject_leaves_the_old_one() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("old", ""))]).await;
        it.write("a.lua", &text("new", ""));
        it.within_a_second("new subject", |it| it.script("new").is_some()).await;
        assert!(it.script("old").is_none());
    });
}

#[test]
fn a_folder_that_is_replaced_is_followed() {
    local(async || {
        let top = tempfile::tempdir().unwrap();
        write(top.path(), "v1/a.lua", &text("a", "one"));
        write(top.path(), "v2/a.lua", &text("a", "two"));
        let link = top.path().join("scripts");
        symlink("v1", &link).unwrap();
        let catalog = Catalog::default();
        let (folders, compiler) = (Folders::new(&link, None), compiler(&Checked::default()));
        let tenancy = watch::Sender::new(Rc::new(Tenancy::default()));
        let changes = tenancy.subscribe();
        let store = FileStore::open(folders, catalog.clone(), changes, compiler).await.unwrap();
        let task = tokio::task::spawn_local(store.follow());
        let it = Fixture { root: top, tenancy, catalog, checked: Checked::default(), task };
        assert!(text_of(&it.script("a").unwrap()).contains("one"));

        symlink("v2", it.root.path().join("next")).unwrap();
        fs::rename(it.root.path().join("next"), &link).unwrap();
        it.within_a_second("the other folder", |it| text_of(&it.script("a").unwrap()).contains("two")).await;
        it.write("v2/a.lua", &text("a", "three"));
        it.within_a_second("a change there", |it| text_of(&it.script("a").unwrap()).contains("three")).await;

        fs::remove_file(&link).unwrap();
        it.within_a_second("loss is told", |it| !it.problems().is_empty()).await;
        assert!(it.script("a").is_some(), "a folder that cannot be read takes nothing out of service");
    });
}

#[test]
fn a_link_by_way_of_another_is_followed() {
    local(async || {
        let top = tempfile::tempdir().unwrap();
        write(top.path(), "store/1/a.lua", &text("a", "one"));
        write(top.path(), "store/2/a.lua", &text("a", "two"));
        let (scripts, way) = (top.path().join("scripts"), top.path().join("static"));
        fs::create_dir(&scripts).unwrap();
        symlink("store/1", &way).unwrap();
        symlink("../static/a.lua", scripts.join("a.lua")).unwrap();
        let catalog = Catalog::default();
        let mut folders = Folders::new(&scripts, None);
        folders.store = top.path().join("store").canonicalize().unwrap();
        let tenancy = watch::Sender::new(Rc::new(Tenancy::default()));
        let (changes, compiler) = (tenancy.subscribe(), compiler(&Checked::default()));
        let store = FileStore::open(folders, catalog.clone(), changes, compiler).await.unwrap();
        let task = tokio::task::spawn_local(store.follow());
        let it = Fixture { root: top, tenancy, catalog, checked: Checked::default(), task };
        assert!(text_of(&it.script("a").unwrap()).contains("one"));
        symlink("store/2", it.root.path().join("next")).unwrap();
        fs::rename(it.root.path().join("next"), &way).unwrap();
        it.within_a_second("where it leads", |it| text_of(&it.script("a").unwrap()).contains("two")).await;
    });
}

#[test]
fn unreadable_files_keep_their_last_good_version() {
    local(async || {
        let it = Fixture::new(&[("a.lua", &text("a", ""))]).await;
        it.remove("a.lua");
        nix::unistd::mkfifo(&it.root.path().join("a.lua"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        it.within_a_second("problem", |it| it.problems() == ["a.lua: this is no regular file"]).await;
        assert!(it.script("a").is_some());
        if !nix::unistd::geteuid().is_root() {
            it.remove("a.lua");
            it.write("a.lua", &text("a", ""));
            let path = it.root.path().join("a.lua");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            it.within_a_second("problem", |it| it.problems().len() == 1).await;
            assert!(it.script("a").is_some());
        }
    });
}

#[test]
fn folders_must_be_there() {
    local(async || {
        let root = tempfile::tempdir().unwrap();
        let open = async |folders: Folders| {
            let store =
                FileStore::open(folders, Catalog::default(), no_tenants(), compiler(&Checked::default()));
            store.await.err().map(|error| error.to_string())
        };
        let none = root.path().join("none");
        assert!(open(Folders::new(&none, None)).await.unwrap().contains("none: No such file"));
        assert!(open(Folders::new(root.path(), Some(&none))).await.unwrap().contains("No such file"));
        assert!(open(Folders::new(root.path(), Some(root.path()))).await.unwrap().contains("cannot be both"));
        assert!(open(Folders::new(root.path(), None)).await.is_none());
    });
}

#[test]
fn tenants_have_their_own_folders_subjects_and_libraries() {
    local(async || {
        let mine = text("acme.x", "--* require: util\nreturn MINE");
        let fixture = Fixture::new(&[
            ("acme/x.lua", &mine),
            ("acme/libs/util.lua", "ours = 1"),
            ("libs/util.lua", "everybodys = 1"),
            ("acme/steal.lua", &text("other.x", "return 1")),
            ("claim.lua", &text("acme.y", "return 1")),
            ("wild.lua", &text(">", "return 1")),
        ])
        .await;
        let owner = |fixture: &Fixture, subject: &str| {
            fixture.script(subject).map(|script| (script.tenant.to_string(), text_of(&script)))
        };
        assert_eq!(owner(&fixture, "acme.x").unwrap().0, "default");
        assert!(owner(&fixture, "acme.x").unwrap().1.contains("everybodys"));
        assert!(fixture.script("other.x").is_some() && fixture.script("acme.y").is_some());

        let claims = Tenancy::for_test(&[("acme", "acme", &["acme.>"])]);
        fixture.tenancy.send_replace(Rc::new(claims));
        fixture
            .within_a_second("the tenant is there", |fixture| {
                owner(fixture, "acme.x").is_some_and(|(tenant, _)| tenant == "acme")
            })
            .await;
        assert!(owner(&fixture, "acme.x").unwrap().1.contains("ours"), "its own library comes first");
        for subject in ["other.x", "acme.y", ">"] {
            assert!(fixture.catalog.current().index.by_pattern(subject).is_empty(), "{subject}");
        }
        let problems = fixture.problems().join("\n");
        for file in ["acme/steal.lua", "claim.lua", "wild.lua"] {
            assert!(problems.contains(file), "{problems}");
        }

        fixture.tenancy.send_replace(Rc::new(Tenancy::default()));
        fixture
            .within_a_second("all is the operator's again", |fixture| {
                owner(fixture, "acme.x").is_some_and(|(tenant, _)| tenant == "default")
                    && fixture.script("other.x").is_some()
            })
            .await;
    });
}
