//! HTTP and HTTPS servers of the tests' own, on loopback: each request is given to a function that writes
//! whatever bytes it likes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::harness::PATIENCE;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header fields as sent, in order.
    pub head: String,
    /// Header fields by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body, as `Content-Length` says.
    pub body: Vec<u8>,
}

impl Request {
    /// A header field, empty if missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Both kinds of connection.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Answers a request; false closes the connection.
pub type Handler = dyn Fn(&Request, &mut dyn Write) -> bool + Send + Sync;

/// A server. Its threads end with the process.
pub struct Web {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// Serves HTTP at a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(handler: impl Fn(&Request, &mut dyn Write) -> bool + Send + Sync + 'static) -> Web {
        Web::serve(None, Arc::new(handler))
    }

    /// The same with TLS.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start_tls(
        identity: Identity,
        handler: impl Fn(&Request, &mut dyn Write) -> bool + Send + Sync + 'static,
    ) -> Web {
        Web::serve(Some(identity.server()), Arc::new(handler))
    }

    /// Only counts who connects.
    #[must_use]
    pub fn canary() -> Web {
        Web::start(|_, to| reply(to, 200, &[], b"canary"))
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>, handler: Arc<Handler>) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (count, seen) = (connections.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (handler, seen, tls) = (handler.clone(), seen.clone(), tls.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.set_write_timeout(Some(PATIENCE));
                    match tls {
                        None => converse(stream, &*handler, &seen),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).expect("a configuration");
                            converse(rustls::StreamOwned::new(session, stream), &*handler, &seen);
                        }
                    }
                });
            }
        });
        Web { address, connections, requests }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` and a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests so far.
    ///
    /// # Panics
    /// When a thread of the server did.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }

    /// The last request.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn last(&self) -> Request {
        self.requests().pop().expect("a request")
    }
}

fn converse(mut stream: impl Stream, handler: &Handler, seen: &Mutex<Vec<Request>>) {
    while let Some(request) = read_request(&mut stream) {
        seen.lock().expect("not poisoned").push(request.clone());
        if !handler(&request, &mut stream) {
            return;
        }
        let _ = stream.flush();
    }
}

fn read_request(stream: &mut impl Stream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (stream.read(&mut byte).ok()? > 0).then(|| head.push(byte[0]))?;
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let size = headers.get("content-length").and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut body = vec![0; size];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, head, headers, body })
}

/// Writes a whole answer; the connection may go on.
pub fn reply(to: &mut dyn Write, status: u16, fields: &[(&str, &str)], body: &[u8]) -> bool {
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    to.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| to.write_all(body)).is_ok()
}

/// A plain TCP server: each connection is given to a function on a thread of its own.
///
/// # Panics
/// When it cannot listen.
#[must_use]
pub fn tcp_server(
    serve: impl Fn(BufReader<TcpStream>, TcpStream) + Send + Sync + Clone + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            let _ = stream.set_read_timeout(Some(PATIENCE));
            std::thread::spawn(move || {
                let reader = BufReader::new(stream.try_clone().expect("a clone"));
                serve(reader, stream);
            });
        }
    });
    address
}

/// Reads a line of a plain server's client.
#[must_use]
pub fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|size| *size > 0)?;
    Some(line.trim_end().to_owned())
}

/// A certificate authority of the tests' own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }
}

/// A server's certificate and key.
pub struct Identity {
    chain: rustls::pki_types::CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for that host, valid in those years.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn issue(&self, host: &str, from: i32, to: i32) -> Identity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity { chain: certificate.der().clone(), key: key.serialize_der() }
    }
}

impl Identity {
    /// A certificate that nobody signed.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn self_signed(host: &str) -> Identity {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
        Identity { chain: made.cert.der().clone(), key: made.signing_key.serialize_der() }
    }

    /// Certificate and key as text.
    #[must_use]
    pub fn pem(&self) -> (String, String) {
        let text = |label: &str, der: &[u8]| {
            let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        (text("CERTIFICATE", &self.chain), text("PRIVATE KEY", &self.key))
    }

    fn server(self) -> Arc<rustls::ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.chain], key);
        Arc::new(config.expect("a certificate"))
    }
}
