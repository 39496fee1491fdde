//! 2 to 4: which scripts, which worker, and the queue.

use std::hint::black_box;
use std::rc::Rc;

use criterion::Criterion;
use msgscript_broker::invocation::Tenant;
use msgscript_broker::route::Index;
use msgscript_broker::schedule::{Queue, View, choose};

use super::sample;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("2 where");
    for count in [1, 10_000] {
        let script = |n: u64| sample::script(n + 1, &format!("bench.s{n}"), sample::HELLO);
        let index = Index::new((0..count).map(script).collect());
        group.bench_function(format!("one of {count} subjects"), |bencher| {
            bencher.iter(|| assert_eq!(index.matching(black_box("bench.s0")).len(), 1));
        });
    }
    let patterns = ["orders.*.paid", "orders.>", "*.7.paid", "users.*"];
    let index =
        Index::new(patterns.iter().map(|subject| sample::script(1, subject, sample::HELLO)).collect());
    group.bench_function("wildcards", |bencher| {
        bencher.iter(|| assert_eq!(index.matching(black_box("orders.7.paid")).len(), 3));
    });
    group.finish();

    let mut group = criterion.benchmark_group("4 when");
    let views = [View { in_flight: 3, ahead: true }, View { in_flight: 0, ahead: true }];
    group.bench_function("which worker", |bencher| {
        bencher.iter(|| black_box(choose(black_box(views).into_iter().enumerate(), Some(2_000))));
    });
    let tenants: Vec<Tenant> = (0..8).map(|n| Rc::from(format!("tenant-{n}"))).collect();
    group.bench_function("through the queue, of 8 tenants", |bencher| {
        let mut queue = Queue::new(1024);
        for (n, tenant) in tenants.iter().enumerate() {
            assert!(queue.push(tenant, 100, n).is_ok());
        }
        bencher.iter(|| {
            let n = queue.take(|_| true, |_| true).unwrap_or_default();
            queue.charge(&tenants[n], 2_000);
            assert!(queue.push(&tenants[n], 100, n).is_ok());
        });
    });
    group.finish();
}
