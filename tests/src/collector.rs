//! A collector of traces: an OTLP endpoint over gRPC that keeps what it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use tonic::{Request, Response, Status};

use crate::harness::PATIENCE;
use crate::web::Identity;

/// A span as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The service that sent it.
    pub service: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its number, in hexadecimal digits.
    pub id: String,
    /// That of the span which it is part of, empty if there is none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its kind, in lower case.
    pub kind: String,
    /// Attributes.
    pub attributes: Vec<(String, String)>,
    /// From when to when, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Whether it failed, and how.
    pub error: Option<String>,
    /// What other tracers said.
    pub state: String,
}

impl Received {
    /// The value of an attribute, empty if there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.attributes.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }
}

/// The collector. It ends with the process.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    /// Listens at a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn start() -> Collector {
        Collector::serve(tonic::transport::Server::builder())
    }

    /// The same with TLS.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn start_tls(identity: &Identity) -> Collector {
        let (certificate, key) = identity.pem();
        let identity = tonic::transport::Identity::from_pem(certificate, key);
        let config = tonic::transport::ServerTlsConfig::new().identity(identity);
        Collector::serve(tonic::transport::Server::builder().tls_config(config).expect("a certificate"))
    }

    fn serve(mut server: tonic::transport::Server) -> Collector {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let spans = Arc::<Mutex<Vec<Received>>>::default();
        let service = TraceServiceServer::new(Keeper(spans.clone()));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serving = server.add_service(service).serve(address);
            runtime.expect("a runtime").block_on(serving).expect("the collector serves");
        });
        Collector { address, spans }
    }

    /// `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// The spans so far.
    ///
    /// # Panics
    /// When its thread did.
    #[must_use]
    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().expect("not poisoned").clone()
    }

    /// Waits until there is a span that passes the test.
    ///
    /// # Panics
    /// When there never is.
    pub fn wait_for(&self, what: &str, test: impl Fn(&Received) -> bool) -> Received {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(span) = self.spans().into_iter().find(&test) {
                return span;
            }
            assert!(Instant::now() < deadline, "no span: {what}\n{:#?}", self.spans());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Keeper(Arc<Mutex<Vec<Received>>>);

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let attributes = attributes(&resource.attributes);
            let service = attributes.iter().find(|(key, _)| key == "service.name");
            let service = service.map_or("", |(_, value)| value);
            let spans = of_resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            let spans = spans.map(|span| received(service, span));
            self.0.lock().expect("not poisoned").extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn received(service: &str, span: &Span) -> Received {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let status = span.status.clone().unwrap_or_default();
    let kind = SpanKind::try_from(span.kind).unwrap_or_default().as_str_name();
    Received {
        service: service.to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: kind.trim_start_matches("SPAN_KIND_").to_lowercase(),
        attributes: attributes(&span.attributes),
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
        error: (status.code == StatusCode::Error as i32).then_some(status.message),
        state: span.trace_state.clone(),
    }
}

fn attributes(list: &[KeyValue]) -> Vec<(String, String)> {
    list.iter().map(|it| (it.key.clone(), it.value.as_ref().map_or_else(String::new, text))).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}
