//! Where spans go: over OTLP to a collector, or as lines to standard output.
//!
//! Spans wait in one bounded queue; a task of the broker's own thread takes them away in batches. A
//! collector that is slow or gone costs spans, and a warning now and then, but no message its answer.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{SpanId, Status};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::trace::Tracer;

/// Spans that may wait.
const QUEUE: usize = 4096;

/// Spans that are sent at a time.
const BATCH: usize = 512;

/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(500);

/// How often a failing exporter is told of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long the last spans may take when the server stops.
const LAST: Duration = Duration::from_secs(2);

/// Where spans are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To an OTLP collector at this URL.
    Otlp(String),
    /// To standard output, a JSON object a line.
    Stdout,
}

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The settings make no sense.
    #[error("{0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A certificate or key that a variable names.
    #[error("{name}: {path}: {source}")]
    File {
        /// The variable.
        name: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Spans on their way out.
pub struct Exporting {
    stop: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Sends what is there, for two seconds at most, and ends.
    pub async fn finish(self) {
        self.stop.notify_one();
        let _ = tokio::time::timeout(LAST, self.task).await;
    }
}

/// Starts to export. Runs within a `LocalSet`.
///
/// # Errors
/// When the settings make no sense. A collector that cannot be reached is none.
pub fn start(target: &Target) -> Result<(Tracer, Exporting), ExportError> {
    let version = KeyValue::new("service.version", crate::VERSION);
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let resource = Resource::builder().with_attribute(version);
    let resource = if named { resource } else { resource.with_service_name("msgscript") }.build();
    let mut out = match target {
        Target::Otlp(url) => Out::Otlp(Box::new(otlp(url)?)),
        Target::Stdout => Out::Stdout,
    };
    if let Out::Otlp(exporter) = &mut out {
        exporter.set_resource(&resource);
    }
    let (queue, waiting) = mpsc::channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let processor = Queue { queue, lost: lost.clone() };
    let provider = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
    let stop = Rc::new(Notify::new());
    let task = tokio::task::spawn_local(export(out, waiting, lost, stop.clone()));
    Ok((Tracer::new(provider.build()), Exporting { stop, task }))
}

/// The exporter; it reads `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT` and `_COMPRESSION` itself.
fn otlp(url: &str) -> Result<opentelemetry_otlp::SpanExporter, ExportError> {
    let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(url);
    // Only then: a machine may have no certificates at all.
    let builder = if url.starts_with("https://") { builder.with_tls_config(tls()?) } else { builder };
    Ok(builder.build()?)
}

/// Certificates: what the standard variables name, else the system's.
fn tls() -> Result<ClientTlsConfig, ExportError> {
    let mut config = match pem("OTEL_EXPORTER_OTLP_CERTIFICATE")? {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let certificate = pem("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")?;
    if let (Some(certificate), Some(key)) = (certificate, pem("OTEL_EXPORTER_OTLP_CLIENT_KEY")?) {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    Ok(config)
}

fn pem(name: &'static str) -> Result<Option<Vec<u8>>, ExportError> {
    let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) else { return Ok(None) };
    let failed = |source| ExportError::File { name, path: path.to_string_lossy().into_owned(), source };
    std::fs::read(Path::new(&path)).map(Some).map_err(failed)
}

/// Puts each span that ended into the queue, if there is room.
#[derive(Debug)]
struct Queue {
    queue: mpsc::Sender<SpanData>,
    lost: Arc<AtomicU64>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

enum Out {
    Otlp(Box<opentelemetry_otlp::SpanExporter>),
    Stdout,
}

impl Out {
    async fn send(&self, batch: Vec<SpanData>) -> Result<(), String> {
        match self {
            Out::Otlp(exporter) => exporter.export(batch).await.map_err(|error| error.to_string()),
            Out::Stdout => {
                // A reader that is slow must not hold up the server.
                let written = tokio::task::spawn_blocking(move || print(&batch)).await;
                written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            }
        }
    }
}

/// Takes spans away in batches until it is told to stop, and then those that are left.
async fn export(out: Out, mut waiting: mpsc::Receiver<SpanData>, lost: Arc<AtomicU64>, stop: Rc<Notify>) {
    let mut complaint = Complaint::default();
    let mut batch = Vec::new();
    let mut stopping = false;
    loop {
        if !stopping {
            tokio::select! {
                count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = stop.notified() => stopping = true,
            }
        }
        if !stopping && batch.len() < BATCH {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = stop.notified() => stopping = true,
            }
        }
        while batch.len() < BATCH
            && let Ok(span) = waiting.try_recv()
        {
            batch.push(span);
        }
        if batch.is_empty() {
            return;
        }
        let size = batch.len() as u64;
        let sent = out.send(std::mem::take(&mut batch)).await;
        if sent.is_err() {
            lost.fetch_add(size, Ordering::Relaxed);
        }
        if lost.load(Ordering::Relaxed) > 0 {
            complaint.make(&sent.err().unwrap_or_else(|| "more spans than can be sent".to_owned()), &lost);
        }
    }
}

/// A warning now and then.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    fn make(&mut self, error: &str, lost: &AtomicU64) {
        if self.0.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            let lost = lost.swap(0, Ordering::Relaxed);
            tracing::warn!(error, lost, "traces are not exported");
            self.0 = Some(Instant::now());
        }
    }
}

fn print(batch: &[SpanData]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for span in batch {
        writeln!(out, "{}", line(span))?;
    }
    out.flush()
}

/// A span as a line of text.
fn line(span: &SpanData) -> Value {
    let nanos = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    let attributes: serde_json::Map<String, Value> =
        span.attributes.iter().map(|it| (it.key.to_string(), it.value.to_string().into())).collect();
    let mut line = json!({
        "trace_id": span.span_context.trace_id().to_string(),
        "span_id": span.span_context.span_id().to_string(),
        "name": span.name,
        "kind": format!("{:?}", span.span_kind).to_lowercase(),
        "start_unix_nanos": nanos(span.start_time),
        "end_unix_nanos": nanos(span.end_time),
        "attributes": attributes,
    });
    if span.parent_span_id != SpanId::INVALID {
        line["parent_span_id"] = span.parent_span_id.to_string().into();
    }
    if let Status::Error { description } = &span.status {
        line["error"] = (**description).into();
    }
    line
}
