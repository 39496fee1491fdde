//! What a script may ask for: any subject, key, URL and path, judged by a policy with a few grants.
//!
//! Nothing may panic, and a yes is only for what was granted, as another reading of the same text has it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::fuzzing::Judge;
use msgscript_broker::policy::grant::Grant;

thread_local! {
    static JUDGE: Judge = Judge::new();
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(grant) = text.parse::<Grant>() {
        let again: Grant = grant.to_string().parse().expect("what a grant prints as is one");
        assert_eq!(grant.to_string(), again.to_string());
    }
    JUDGE.with(|judge| {
        if judge.publishes(&text) {
            assert!(text.starts_with("acme.out."), "{text:?}");
        }
        for prefix in [false, true] {
            if judge.uses_key(bytes, prefix) {
                assert!(bytes.starts_with(b"acme/") && !bytes.windows(4).any(|part| part == b"/../"));
            }
        }
        if let Some(host) = judge.fetches(&text) {
            assert!(host == "api.example.com" || host.ends_with(".example.org"), "{text:?} is {host}");
        }
        if judge.opens(&text) {
            let mut parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
            assert!(text.starts_with('/') && parts.next() == Some("srv") && parts.next() == Some("acme"), "{text:?}");
            assert!(parts.all(|part| part != ".."), "{text:?}");
        }
    });
});
