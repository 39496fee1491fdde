//! Each step of a message's way by itself, so that a regression has an address. In the order of
//! `broker/src/pipeline.rs`; the engine itself is in worker/benches/engine.rs.
//!
//! ```text
//! cargo build --release --workspace && cargo bench -p msgscript-tests --bench steps [-- FILTER]
//! ```
//!
//! What a whole message costs beside other servers is scripts/bench's to say.

mod ingress;
mod reply;
mod route;
mod sample;
mod wire;
mod workers;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    ingress::bench(&mut criterion);
    route::bench(&mut criterion);
    wire::bench(&mut criterion);
    workers::bench(&mut criterion);
    reply::bench(&mut criterion);
    criterion.final_summary();
}
