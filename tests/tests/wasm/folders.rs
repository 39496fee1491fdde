//! Files of modules: the scratch folder, granted folders, and what hostile calls get. Each of them as a preview 1
//! command and as a component.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::OnceLock;

use msgscript_tests::harness::{Broker, Setup};
use msgscript_tests::wasm;
use tempfile::TempDir;

use crate::with;

/// The command of `files.c`.
fn files() -> &'static [u8] {
    static FILES: OnceLock<Vec<u8>> = OnceLock::new();
    FILES.get_or_init(|| wasm::c(include_str!("files.c")))
}

/// Both kinds of the command, as functions `module` and `component`.
fn both(setup: Setup) -> Setup {
    with(with(setup, "module", files()), "component", &wasm::component(files()))
}

const KINDS: [&str; 2] = ["module", "component"];

/// Has the command do this, line by line.
fn act(broker: &Broker, kind: &str, lines: &[&str]) -> Vec<String> {
    broker.call(kind, &lines.join("\n")).lines().map(str::to_owned).collect()
}

#[test]
fn the_scratch_folder_is_like_any_folder_and_gone_with_the_run() {
    let broker = both(Setup::new()).start();
    for kind in KINDS {
        for folder in [".", "/scratch", "/tmp"] {
            let at = |line: &str| line.replace("F/", &format!("{folder}/"));
            let acts = [
                ("write F/a hello", "write: ok"),
                ("append F/a , you", "append: ok"),
                ("read F/a", "read: hello, you"),
                ("patch F/a EL", "patch: h u 10"),
                ("read F/a", "read: hELlo, you"),
                ("size F/a 3", "size: 3"),
                ("size F/a 5", "size: 5"),
                ("stat F/a", "stat: file 5 1"),
                ("touch F/a", "touch: 1 2"),
                ("own F/a", "own: File exists"),
                ("own F/b", "own: ok"),
                ("mkdir F/d", "mkdir: ok"),
                ("mkdir F/d", "mkdir: File exists"),
                ("rename F/a F/d/c", "rename: ok"),
                ("read F/a", "read: No such file or directory"),
                ("link F/d/l c", "link: c"),
                ("stat F/d/l", "stat: link 1 1"),
                ("read F/d/l", "read: hEL"),
                ("list F/d", "list: ../ ./ c l@"),
                ("rmdir F/d", "rmdir: Directory not empty"),
                ("unlink F/d", "unlink: Is a directory"),
                ("rmdir F/d/c", "rmdir: Not a directory"),
                ("write F/d no", "write: Is a directory"),
                ("unlink F/d/c", "unlink: ok"),
                ("unlink F/d/l", "unlink: ok"),
                ("rmdir F/d", "rmdir: ok"),
                ("stat F/d", "stat: No such file or directory"),
                ("unlink F/b", "unlink: ok"),
                ("unlink F/b", "unlink: No such file or directory"),
                ("write F/left x", "write: ok"),
            ];
            let lines: Vec<_> = acts.iter().map(|(line, _)| at(line)).collect();
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let came = act(&broker, kind, &lines);
            for (index, (line, expected)) in acts.iter().enumerate() {
                // A size after `\0`s were added: the file reads as far as its first.
                assert_eq!(
                    came[index].trim_end_matches('\0'),
                    *expected,
                    "{kind} {folder} {line}\n{came:#?}"
                );
            }
            let gone = act(&broker, kind, &[&at("stat F/left"), "list /"]);
            assert_eq!(gone, ["stat: No such file or directory", "list: ../ ./ scratch/ tmp/"], "{kind}");
        }
    }
}

#[test]
fn rust_programs_find_what_their_library_knows() {
    let mut setup = Setup::new();
    let granted = TempDir::new().unwrap();
    for target in ["wasm32-wasip1", "wasm32-wasip2"] {
        setup = with(setup, target, &wasm::rust(include_str!("programs/walk.rs"), target));
    }
    let grant = format!("files:{}", granted.path().display());
    let broker = setup.args(&["--allow", &grant]).start();
    for target in ["wasm32-wasip1", "wasm32-wasip2"] {
        for folder in ["/scratch", ".", granted.path().to_str().unwrap()] {
            assert_eq!(
                broker.call(target, folder),
                "one and more a/b/c/three.bin a/b/copy.txt a/one.txt",
                "{target} {folder}"
            );
        }
    }
    assert_eq!(fs::read_dir(granted.path()).unwrap().count(), 0);
}

/// A server with a folder that modules may write, one that they may read, and one that is none of theirs.
struct Host {
    folder: TempDir,
    broker: Broker,
}

impl Host {
    fn new() -> Host {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["open", "fixed", "secret"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("secret/key"), "secret").unwrap();
        fs::write(at("fixed/a"), "one").unwrap();
        let grants =
            [format!("files:{}", at("open").display()), format!("files:{}:ro", at("fixed").display())];
        let args: Vec<_> = grants.iter().flat_map(|grant| ["--allow", grant]).collect();
        let broker = both(Setup::new().args(&args)).start();
        Host { folder, broker }
    }

    /// Has the command do this, in which `@` is where the folders are.
    fn act(&self, kind: &str, lines: &[&str]) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let lines: Vec<_> = lines.iter().map(|line| line.replace('@', folder)).collect();
        act(&self.broker, kind, &lines.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn granted_folders_are_the_hosts() {
    let host = Host::new();
    let at = |name: &str| host.folder.path().join(name);
    for kind in KINDS {
        let acts = [
            ("write @/open/a hello", "write: ok"),
            ("append @/open/a , you", "append: ok"),
            ("patch @/open/a EL", "patch: h u 10"),
            ("read @/open/a", "read: hELlo, you"),
            ("size @/open/a 3", "size: 3"),
            ("stat @/open/a", "stat: file 3 1"),
            ("touch @/open/a", "touch: 1 2"),
            ("own @/open/a", "own: File exists"),
            ("mkdir @/open/d", "mkdir: ok"),
            ("rename @/open/a @/open/d/b", "rename: ok"),
            ("list @/open", "list: ../ ./ d/"),
            ("list @/open/d", "list: ../ ./ b"),
            ("rename @/open/d/b /scratch/b", "rename: Cross-device link"),
            ("unlink @/open/d", "unlink: Is a directory"),
            ("rmdir @/open/d", "rmdir: Directory not empty"),
        ];
        let came = host.act(kind, &acts.map(|(line, _)| line));
        for (index, (line, expected)) in acts.iter().enumerate() {
            assert_eq!(came[index], *expected, "{kind} {line}");
        }
        assert_eq!(fs::read(at("open/d/b")).unwrap(), b"hEL");
        let rest = ["unlink @/open/d/b", "rmdir @/open/d", "list @/open"];
        assert_eq!(host.act(kind, &rest), ["unlink: ok", "rmdir: ok", "list: ../ ./"], "{kind}");
    }
}

#[test]
fn what_is_granted_to_read_is_not_written() {
    let host = Host::new();
    for kind in KINDS {
        assert_eq!(host.act(kind, &["read @/fixed/a", "list @/fixed"]), ["read: one", "list: ../ ./ a"]);
        for line in [
            "write @/fixed/a x",
            "append @/fixed/a x",
            "patch @/fixed/a x",
            "own @/fixed/b",
            "unlink @/fixed/a",
            "mkdir @/fixed/d",
            "rename @/fixed/a @/fixed/b",
            "rename @/fixed/a @/open/a",
            "touch @/fixed/a",
        ] {
            let came = host.act(kind, &[line]);
            assert!(came[0].ends_with(": Permission denied"), "{kind} {line}: {came:?}");
        }
    }
    assert_eq!(fs::read(host.folder.path().join("fixed/a")).unwrap(), b"one");
    assert_eq!(fs::read_dir(host.folder.path().join("fixed")).unwrap().count(), 1);
}

#[test]
fn no_path_leads_elsewhere() {
    let host = Host::new();
    let at = |name: &str| host.folder.path().join(name);
    symlink(at("secret"), at("open/out")).unwrap();
    symlink("../secret/key", at("open/up")).unwrap();
    symlink("/proc/self/environ", at("open/magic")).unwrap();
    for kind in KINDS {
        for path in [
            "/etc/passwd",
            "@/secret/key",
            "@/open/../secret/key",
            "@/open/out/key",
            "@/open/up",
            "@/open/magic",
            "../../../../../../etc/passwd",
            "/proc/self/maps",
            "/dev/stdin",
            "@/open/x/../../../../../../../etc/passwd",
        ] {
            let came = host.act(kind, &[&format!("read {path}"), &format!("write {path} x")]);
            assert!(!came[0].contains("secret") && !came[0].contains("root:"), "{kind} {path}: {came:?}");
            let refused = ["No such file", "not permitted", "Permission denied", "Capabilities insufficient"];
            for line in &came {
                assert!(refused.iter().any(|words| line.contains(words)), "{kind} {path}: {came:?}");
            }
        }
        let came = host.act(kind, &["link l /etc/passwd", "link l ../../etc/passwd", "read l"]);
        assert_ne!(came[0], "link: /etc/passwd", "{kind}");
        assert_eq!(came[2], "read: No such file or directory", "{kind}");
    }
    assert_eq!(fs::read(at("secret/key")).unwrap(), b"secret");
    assert!(fs::read_dir(at("secret")).unwrap().count() == 1);
}

#[test]
fn files_have_limits() {
    let broker = both(Setup::new().args(&["--memory", "48MiB"])).start();
    for kind in KINDS {
        let came = act(&broker, kind, &["fill big", "unlink big", "write a x", "read a", "fill b"]);
        let size = |line: &str| line.strip_prefix("fill: ")?.split(',').next()?.parse::<u32>().ok();
        assert!(size(&came[0]).is_some_and(|size| (16..48).contains(&size)), "{kind} {came:?}");
        assert!(came[0].ends_with("memory"), "{kind} {came:?}");
        assert_eq!(came[1..4], ["unlink: ok", "write: ok", "read: x"], "{kind}: what was given back is free");
        assert!(size(&came[4]).is_some_and(|size| (16..48).contains(&size)), "{kind} {came:?}");
        let came = act(&broker, kind, &["mkdir d", "many d"]);
        assert_eq!(came[1], "many: 9999, No space left on device", "{kind}");
        let came = act(&broker, kind, &["write a x", "exhaust a"]);
        let count = came[1].split([' ', ',']).nth(1).and_then(|count| count.parse().ok());
        assert!(count.is_some_and(|count: u32| (100..256).contains(&count)), "{kind} {came:?}");
    }
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}

/// Numbers and pointers of any value at calls that have to do with files, in a memory of one page: each of them is an
/// error or a trap, and the worker lives.
#[test]
fn hostile_calls_do_no_harm() {
    let calls = [
        ("fd_prestat_get", "i32 i32"),
        ("fd_prestat_dir_name", "i32 i32 i32"),
        ("fd_close", "i32"),
        ("fd_renumber", "i32 i32"),
        ("fd_read", "i32 i32 i32 i32"),
        ("fd_pread", "i32 i32 i32 i64 i32"),
        ("fd_write", "i32 i32 i32 i32"),
        ("fd_pwrite", "i32 i32 i32 i64 i32"),
        ("fd_seek", "i32 i64 i32 i32"),
        ("fd_tell", "i32 i32"),
        ("fd_allocate", "i32 i64 i64"),
        ("fd_advise", "i32 i64 i64 i32"),
        ("fd_fdstat_get", "i32 i32"),
        ("fd_fdstat_set_flags", "i32 i32"),
        ("fd_filestat_get", "i32 i32"),
        ("fd_filestat_set_size", "i32 i64"),
        ("fd_filestat_set_times", "i32 i64 i64 i32"),
        ("fd_readdir", "i32 i32 i32 i64 i32"),
        ("path_create_directory", "i32 i32 i32"),
        ("path_filestat_get", "i32 i32 i32 i32 i32"),
        ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
        ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
        ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
        ("path_readlink", "i32 i32 i32 i32 i32 i32"),
        ("path_remove_directory", "i32 i32 i32"),
        ("path_rename", "i32 i32 i32 i32 i32 i32"),
        ("path_symlink", "i32 i32 i32 i32 i32"),
        ("path_unlink_file", "i32 i32 i32"),
    ];
    // The number that all of a call's arguments are, the descriptor aside.
    let numbers = ["-1", "0x7fffffff", "0x80000000", "0", "65532", "65536", "16"];
    let mut setup = Setup::new().args(&["--memory", "32MiB"]);
    for (name, types) in calls {
        let (mut body, mut index) = (String::new(), 0);
        for descriptor in ["0", "3", "4", "-1", "99"] {
            for number in numbers {
                let arguments = types.split(' ').enumerate().map(|(index, of)| match (index, of) {
                    (0, _) => format!("(i32.const {descriptor})"),
                    (_, "i64") => format!("(i64.const {number})"),
                    _ => format!("(i32.const {number})"),
                });
                let arguments: Vec<_> = arguments.collect();
                // One call a run, chosen by the payload: a trap ends it.
                let arguments = arguments.join(" ");
                body += &format!(
                    "(if (i32.eq (local.get $which) (i32.const {index})) (then (drop (call $f {arguments}))))\n"
                );
                index += 1;
            }
        }
        let module = wasm::text(&format!(
            r#"(module
            (import "wasi_snapshot_preview1" "{name}" (func $f (param {types}) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 32) "f")
            (func (export "_start") (local $which i32)
              ;; Two digits of the payload.
              (i32.store (i32.const 0) (i32.const 64))
              (i32.store (i32.const 4) (i32.const 2))
              (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
              (local.set $which (i32.add
                (i32.mul (i32.sub (i32.load8_u (i32.const 64)) (i32.const 48)) (i32.const 10))
                (i32.sub (i32.load8_u (i32.const 65)) (i32.const 48))))
              ;; Descriptor 4: a file to read and write.
              (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 1)
                (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 8)))
              ;; A vector at 16 that begins within memory and ends far outside.
              (i32.store (i32.const 16) (i32.const 100))
              (i32.store (i32.const 20) (i32.const -1))
              {body}))"#
        ));
        setup = with(setup, name, &module);
    }
    let broker = setup.start();
    for (name, _) in calls {
        for index in 0..5 * numbers.len() {
            let response = broker.post(&format!("/{name}"), format!("{index:02}"));
            let reason = response.header("msgscript-reason").unwrap_or_default();
            let fine = response.status == 200 || matches!(reason, "script_error" | "memory");
            assert!(fine, "{name} {index}: {} {}", response.status, response.text());
        }
    }
    assert_eq!(broker.count_events("worker ended"), 0, "{}", broker.log());
}
