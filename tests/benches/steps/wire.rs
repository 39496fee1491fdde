//! Between broker and worker: a message's bytes.

use std::hint::black_box;

use criterion::Criterion;
use msgscript_proto::codec;
use msgscript_proto::message::{Entry, Invoke, ToBroker, ToWorker};
use msgscript_proto::outcome::Outcome;

use super::sample;

pub fn bench(criterion: &mut Criterion) {
    let invoke = || {
        ToWorker::Invoke(Invoke {
            invocation: 7,
            epoch: 0,
            script: 1,
            entry: Entry::Message { subject: "bench.hello" },
            headers: Vec::new(),
            payload: &sample::PAYLOAD,
            limits: sample::LIMITS,
        })
    };
    let mut group = criterion.benchmark_group("5 wire");
    let mut buffer = Vec::new();
    group.bench_function("a job, written", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            assert!(codec::encode(&black_box(invoke()), &mut buffer).is_ok());
        });
    });
    group.bench_function("a job, read", |bencher| {
        bencher.iter(|| assert!(codec::decode::<ToWorker<'_>>(black_box(&buffer)).is_ok()));
    });
    let outcome = Outcome::Message(Some(b"Hello 100"));
    let done = ToBroker::Done { invocation: 7, nanos: 1000, memory: 1 << 16, outcome };
    let mut buffer = Vec::new();
    group.bench_function("an answer, written", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            assert!(codec::encode(black_box(&done), &mut buffer).is_ok());
        });
    });
    group.bench_function("an answer, read", |bencher| {
        bencher.iter(|| assert!(codec::decode::<ToBroker<'_>>(black_box(&buffer)).is_ok()));
    });
    group.finish();
}
