//! Traces: spans of a message's way, joined to those of whoever sent it and of whomever scripts ask.
//!
//! Takes W3C trace context from headers and gives it to host calls. There is no [`Tracer`] unless the
//! operator asked for one, and then no span either: each place looks at one `Option`. What comes from
//! outside names a trace and nothing more; it is never trusted with anything.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanContext, Status, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use opentelemetry::trace::SpanKind;

use crate::catalog::Script;
use crate::invocation::{Ending, Reason, format_id};

/// What names the trace, and what goes along with it.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is handed on, in bytes: what the standard demands at least.
const MOST_STATE: usize = 512;

/// Makes spans. Copies share it.
#[derive(Clone)]
pub struct Tracer {
    tracer: SdkTracer,
    /// Spans go to its processor.
    _provider: SdkTracerProvider,
}

/// A span: ends when it is dropped.
pub struct Span {
    span: RefCell<opentelemetry_sdk::trace::Span>,
    context: Context,
    tracer: Tracer,
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Span").field(self.context.span().span_context()).finish()
    }
}

impl Tracer {
    /// A tracer whose spans go to that provider's processor.
    #[must_use]
    pub fn new(provider: SdkTracerProvider) -> Tracer {
        Tracer { tracer: provider.tracer("msgscript"), _provider: provider }
    }

    /// The span of a message that arrived then, within the trace that its headers name, if they name one.
    #[must_use]
    pub fn message(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        headers: &[(String, Bytes)],
        arrived: Instant,
    ) -> Span {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
        let start = SystemTime::now().checked_sub(arrived.elapsed());
        self.span(name.into(), kind, &parent, start)
    }

    fn span(
        &self,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: &Context,
        start: Option<SystemTime>,
    ) -> Span {
        let mut builder = self.tracer.span_builder(name).with_kind(kind);
        builder.start_time = start;
        let span = self.tracer.build_with_context(builder, parent);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        Span { span: RefCell::new(span), context, tracer: self.clone() }
    }
}

impl Span {
    /// A span within this one, from now on.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        self.tracer.span(name.into(), kind, &self.context, None)
    }

    /// Says something about it.
    pub fn set(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.span.borrow_mut().set_attribute(KeyValue::new(key, value));
    }

    /// Says that it failed, and how.
    pub fn fail(&self, text: impl Into<Cow<'static, str>>) {
        self.span.borrow_mut().set_status(Status::error(text));
    }

    /// Ends it now, whoever still holds it.
    pub fn end(&self) {
        self.span.borrow_mut().end();
    }

    /// The header fields that make whoever gets them part of this trace.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Taken::default();
        TraceContextPropagator::new().inject_context(&self.context, &mut fields);
        fields.0
    }

    /// Where it stands.
    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }
}

/// The spans of one run: all of it, and what it is in just now: waiting, or with a worker.
#[derive(Debug)]
pub struct RunTrace {
    run: Span,
    phase: RefCell<Span>,
}

impl RunTrace {
    /// A run for a message, about to wait for a worker.
    #[must_use]
    pub fn start(message: &Span, id: u64, script: &Script) -> RunTrace {
        let run = message.child(format!("run {}", script.name), SpanKind::Internal);
        run.set("msgscript.invocation", format_id(id));
        run.set("msgscript.tenant", script.tenant.to_string());
        run.set("msgscript.subject", script.subject.to_string());
        run.set("msgscript.script", script.name.to_string());
        run.set("msgscript.executor", script.executor.name());
        let phase = RefCell::new(run.child("queue", SpanKind::Internal));
        RunTrace { run, phase }
    }

    /// A worker began with it. (Again, if what the first one was handed came back unread.)
    pub fn began(&self) {
        *self.phase.borrow_mut() = self.run.child("worker", SpanKind::Internal);
    }

    /// A host call of its script.
    #[must_use]
    pub fn call(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        self.phase.borrow().child(name, kind)
    }

    /// It ended.
    pub fn ended(&self, ending: &Ending) {
        self.phase.borrow().end();
        self.run.set("msgscript.reason", ending.reason.word());
        if ending.reason != Reason::Ok {
            self.run.fail(ending.error.clone());
        }
        self.run.end();
    }
}

/// Headers of a message, as the propagator reads them. A `tracestate` that is too long is none.
struct Fields<'a>(&'a [(String, Bytes)]);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        let text = std::str::from_utf8(value).ok()?;
        (key != TRACESTATE || text.len() <= MOST_STATE).then_some(text)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// What the propagator writes; empty fields are left out.
#[derive(Default)]
struct Taken(Vec<(&'static str, String)>);

impl Injector for Taken {
    fn set(&mut self, key: &str, value: String) {
        let name = [TRACEPARENT, TRACESTATE].into_iter().find(|name| *name == key);
        self.0.extend(name.filter(|_| !value.is_empty()).map(|name| (name, value)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn tracer() -> (Tracer, Kept) {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
        (Tracer::new(provider), kept)
    }

    fn headers(parent: &str, state: &str) -> Vec<(String, Bytes)> {
        let field = |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        vec![field("TraceParent", parent), field("tracestate", state)]
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_message_joins_its_senders_trace() {
        let (tracer, kept) = tracer();
        let span = tracer.message("in", SpanKind::Server, &headers(PARENT, "a=1,b=2"), Instant::now());
        let fields = span.child("out", SpanKind::Client).fields();
        assert!(fields[0].1.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{fields:?}");
        assert!(fields[0].1.ends_with("-01") && !fields[0].1.contains("b7ad6b7169203331"), "{fields:?}");
        assert_eq!(fields[1], ("tracestate", "a=1,b=2".to_owned()));
        drop(span);
        let spans = kept.0.lock().unwrap();
        assert_eq!(spans[1].parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert!(spans[1].parent_span_is_remote && !spans[0].parent_span_is_remote);
    }

    #[test]
    fn what_is_no_context_begins_a_trace() {
        let (tracer, _) = tracer();
        let long = format!("a={}", "x".repeat(600));
        let bad = [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ];
        for parent in bad {
            let span = tracer.message("in", SpanKind::Server, &headers(parent, "a=1"), Instant::now());
            let fields = span.fields();
            assert!(!fields[0].1.contains("0af7651916cd43dd8448eb211c80319c"), "{parent}: {fields:?}");
        }
        let span = tracer.message("in", SpanKind::Server, &headers(PARENT, &long), Instant::now());
        assert_eq!(span.fields().len(), 1, "a tracestate that is too long goes no further");
    }

    #[test]
    fn a_sender_that_does_not_record_is_followed() {
        let (tracer, kept) = tracer();
        let parent = PARENT.replace("-01", "-00");
        let span = tracer.message("in", SpanKind::Server, &headers(&parent, ""), Instant::now());
        assert!(span.fields()[0].1.ends_with("-00"));
        drop(span);
        assert_eq!(kept.0.lock().unwrap().len(), 0);
    }

    #[test]
    fn a_run_waits_then_works() {
        let (tracer, kept) = tracer();
        let span = tracer.message("in", SpanKind::Server, &[], Instant::now());
        let script = Script::for_test("s", "n");
        let run = RunTrace::start(&span, 7, &script);
        run.began();
        drop(run.call("etcd", SpanKind::Client));
        run.ended(&Ending::failed(7, &script, Reason::Memory, "too much".to_owned()));
        drop((run, span));
        let spans = kept.0.lock().unwrap();
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["queue", "etcd", "worker", "run n", "in"]);
        assert_eq!(spans[1].parent_span_id, spans[2].span_context.span_id());
        assert_eq!(spans[3].status, Status::error("too much"));
        assert!(spans[3].attributes.contains(&KeyValue::new("msgscript.invocation", "0000000000000007")));
    }

    proptest! {
        #[test]
        fn any_headers_are_survived(parent in "[-0-9a-fx]{0,80}|\\PC{0,40}", state in "\\PC{0,60}|([a-z]=[a-z],){0,300}") {
            let (tracer, _) = tracer();
            let span = tracer.message("in", SpanKind::Server, &headers(&parent, &state), Instant::now());
            for (_, value) in span.fields() {
                prop_assert!(value.len() <= 1024, "{}", value);
            }
        }
    }
}
