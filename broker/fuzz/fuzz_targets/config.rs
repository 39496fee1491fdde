//! A configuration file: any text.
//!
//! Nothing may panic. Where it is valid, tenants do not overlap, and no limit is above the broker's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msgscript_broker::config::Config;
use msgscript_broker::route::overlap;

fuzz_target!(|text: &str| {
    let Ok(config) = Config::of_text(text) else { return };
    let _ = config.notices();
    let tenants = &config.tables.tenants;
    for (at, tenant) in tenants.iter().enumerate() {
        let run = &tenant.limits.run;
        assert!(run.memory <= config.limits.memory && run.wall <= config.limits.wall);
        assert!(run.output <= config.limits.output && run.payload <= config.limits.payload);
        assert!(tenant.limits.scratch <= run.memory);
        for other in &tenants[..at] {
            assert!(other.name != tenant.name);
            assert!(!other.subjects.iter().any(|one| tenant.subjects.iter().any(|two| overlap(one, two))));
        }
    }
});
