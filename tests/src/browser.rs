//! A real browser (Debian's Chromium), driven by its debugging protocol over a pair of pipes.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::PATIENCE;

/// A browser. It ends with its value.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: RefCell<ChildStdin>,
    from: Receiver<Value>,
    next: Cell<u64>,
    /// What it said unasked.
    events: RefCell<Vec<Value>>,
    _profile: TempDir,
}

/// One page of it.
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts it, without a window.
    ///
    /// # Panics
    /// When there is none: `scripts/test` installs it.
    #[must_use]
    pub fn start() -> Browser {
        let profile = TempDir::new().expect("a temporary folder");
        // It reads commands at descriptor 3 and answers at 4. As root it has no sandbox of its own.
        let line = "exec chromium --headless --remote-debugging-pipe --no-first-run --disable-gpu \
            --disable-dev-shm-usage --disable-background-networking --no-proxy-server --user-data-dir=\"$0\" \
            $(if [ \"$(id -u)\" = 0 ]; then echo --no-sandbox; fi) about:blank 3<&0 4>&1 0</dev/null 1>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", line])
            .arg(profile.path())
            .env("HOME", profile.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let to = RefCell::new(child.stdin.take().expect("a pipe"));
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, from) = sync_channel(1024);
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        Browser { child, to, from, next: Cell::new(1), events: RefCell::default(), _profile: profile }
    }

    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let id = self.next.replace(self.next.get() + 1);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.to.borrow_mut().write_all(&bytes).expect("chromium runs (scripts/test installs it)");
        loop {
            let answer = self.from.recv_timeout(PATIENCE);
            let answer = answer.unwrap_or_else(|error| panic!("{method}: no answer from chromium: {error}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.borrow_mut().push(answer);
        }
    }

    /// Opens an empty page.
    #[must_use]
    pub fn page(&self) -> Page<'_> {
        let target = self.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", &attach);
        let page =
            Page { browser: self, session: session["sessionId"].as_str().expect("a session").to_owned() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in its group.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl Page<'_> {
    /// Asks something of the debugging protocol.
    ///
    /// # Panics
    /// When it is refused.
    pub fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Goes to a URL and waits until it is there.
    ///
    /// # Panics
    /// When it does not come.
    pub fn open(&self, url: &str) {
        let went = self.call("Page.navigate", &json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.wait_for(
            &format!("{url} is there"),
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// The value of a JavaScript expression, as if somebody had clicked for it.
    ///
    /// # Panics
    /// When it throws.
    pub fn eval(&self, code: &str) -> Value {
        let params =
            json!({"expression": code, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{code}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The text that is seen of the first element that a selector matches.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let value = self.eval(&format!("document.querySelector({selector:?}).innerText"));
        value.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it never is.
    pub fn wait_for(&self, what: &str, code: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(code) != true {
            assert!(Instant::now() < deadline, "{what}: {}", self.eval("document.documentElement.outerHTML"));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Presses a key: `Tab`, `Enter`, ` `.
    pub fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => (32, " "),
        };
        let key = json!({"key": key, "windowsVirtualKeyCode": code, "text": text, "type": "keyDown"});
        self.call("Input.dispatchKeyEvent", &key);
        let mut up = key;
        up["type"] = "keyUp".into();
        up["text"] = "".into();
        self.call("Input.dispatchKeyEvent", &up);
    }

    /// Makes it as wide as a phone.
    pub fn as_phone(&self) {
        let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.call("Emulation.setDeviceMetricsOverride", &phone);
    }

    /// Runs no scripts from the next page on. (Ours run all the same.)
    pub fn without_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    }

    /// What the browser complained of so far, on all pages.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.call("Runtime.enable", &json!({}));
        let events = self.browser.events.borrow();
        let entries = events.iter().filter(|event| event["method"] == "Log.entryAdded");
        entries.map(|event| event["params"]["entry"]["text"].to_string()).collect()
    }
}
