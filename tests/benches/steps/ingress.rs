//! 1, in: bytes become a message.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use msgscript_broker::ingress::envelope;
use msgscript_broker::nats::protocol::{Limits, Parser};

use super::sample;

pub fn bench(criterion: &mut Criterion) {
    let mut publish = b"PUB bench.hello _INBOX.AbCdEfGhIjKlMnOpQrStUv.1 100\r\n".to_vec();
    publish.extend_from_slice(&sample::PAYLOAD);
    publish.extend_from_slice(b"\r\n");
    let limits = Limits { control_line: 4096, payload: 8 << 20 };
    let mut group = criterion.benchmark_group("1 in");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a PUB of an embedded server's client", |bencher| {
        bencher.iter(|| {
            let taken = Parser::new(limits).next(black_box(&publish)).ok().flatten().map(|(_, taken)| taken);
            assert_eq!(taken, Some(publish.len()));
        });
    });
    let document = br#"{"subject":"bench.hello","payload":"eHh4","headers":{"A":["1"]},"method":"GET"}"#;
    group.bench_function("an envelope", |bencher| {
        bencher.iter(|| black_box(envelope::parse(black_box(document))));
    });
    group.finish();
}
