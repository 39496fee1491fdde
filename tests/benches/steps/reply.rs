//! 7, out: an ending becomes an answer.

use std::hint::black_box;

use criterion::Criterion;
use msgscript_broker::reply::{http, nats};

use super::sample;

pub fn bench(criterion: &mut Criterion) {
    let script = sample::script(1, "bench.hello", sample::HELLO);
    let endings = [sample::ending(&script)];
    let scripts = [script];
    let mut group = criterion.benchmark_group("7 out");
    group.bench_function("over NATS", |bencher| {
        bencher.iter(|| black_box(nats::raw(black_box(&endings[0]), 1 << 20)));
    });
    group.bench_function("over NATS, in an envelope", |bencher| {
        bencher.iter(|| black_box(nats::envelope(black_box(&endings), None, 1 << 20)));
    });
    group.bench_function("over HTTP", |bencher| {
        bencher.iter(|| black_box(http::respond("POST", &scripts, black_box(&endings))));
    });
    group.finish();
}
