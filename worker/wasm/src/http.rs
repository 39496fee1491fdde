//! Components of the world `wasi:http/proxy`: one request in, one response out.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::message::{Entry, Invoke, Level};
use msgscript_proto::net::{HttpRequest, HttpResult};
use msgscript_worker::lua::Outside;
use msgscript_worker::serve::Broker;
use tokio::sync::oneshot;
use wasmtime::{Result, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use crate::budget::Budget;
use crate::command::Surroundings;
use crate::files::Files;
use crate::preview2::Preview2;
use crate::run::{Ended, Failed, judge};
use crate::streams::TooMuch;

/// Bytes of standard output and error that go to the log.
const LOG: u64 = 64 << 10;

/// The largest body of a request that a component makes, in bytes.
const MOST_BODY: usize = 32 << 20;

/// What a handler answers with, or why it did not.
type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Has the component answer a request. Messages are none.
pub async fn run(pre: &ProxyPre<Preview2>, invoke: &Invoke<'_>, outside: Arc<Mutex<Broker>>) -> Ended {
    let Entry::Http { method, url, .. } = invoke.entry else { return Ended::NoFunction };
    let mut surroundings = Surroundings::new(LOG);
    let wasi = surroundings.builder().build();
    let files = Files::new(&invoke.limits, outside.clone());
    let budget = Budget::new(invoke.limits.memory, files.clone());
    let mut store = Store::new(pre.engine(), Preview2::new(wasi, files, budget, Outgoing::new(outside)));
    store.limiter(|state| &mut state.budget);
    store.set_epoch_deadline(1);
    let request = match request(method, url, invoke) {
        Ok(request) => request,
        Err(error) => return Ended::Failed(Failed::Trap(format!("no request for a component: {error}"))),
    };
    let (answered, answer) = oneshot::channel::<Answer>();
    let pre = pre.clone();
    // A task of its own: the component may still be writing the body that is read here.
    let task = tokio::task::spawn(async move {
        let result = handle(&pre, &mut store, request, answered).await;
        result.map_err(|error| judge(&error, &store.data().budget))
    });
    let response = response(answer, invoke.limits.output).await;
    if response.is_err() {
        task.abort();
    }
    let result = task.await;
    let log = [surroundings.stdout.take(), surroundings.stderr.take()].concat();
    match (response, result) {
        (_, Ok(Err(Err(failed)))) => Ended::Failed(failed),
        (Err(TooMuch { measured }), _) => Ended::Failed(Failed::Output(measured)),
        (_, Ok(Err(Ok(status)))) => {
            Ended::Failed(Failed::Trap(format!("the component ended itself with status {status}")))
        }
        (Ok(Ok((status, headers, body))), _) => Ended::Http { status, headers, body, log },
        (Ok(Err(text)), _) => Ended::Failed(Failed::Trap(text)),
    }
}

/// The request as the component sees it. `url` is what stands behind the subject.
fn request(method: &str, url: &str, invoke: &Invoke<'_>) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let host = invoke.headers.iter().find(|(name, _)| *name == "host");
    let host = host.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or("localhost");
    let slash = if url.starts_with('/') { "" } else { "/" };
    let uri = http::Uri::builder().scheme("http").authority(host).path_and_query(format!("{slash}{url}"));
    let mut request = http::Request::builder().method(method).uri(uri.build()?);
    for (name, value) in &invoke.headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(invoke.payload)))
}

async fn handle(
    pre: &ProxyPre<Preview2>,
    store: &mut Store<Preview2>,
    request: http::Request<Full<Bytes>>,
    answered: oneshot::Sender<Answer>,
) -> Result<()> {
    let request = request.map(|body| body.map_err(|never| -> Error { match never {} }));
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(answered)?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
}

type Parts = (u16, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Reads the response whole, as far as the limit; the inner error is the component's.
async fn response(answer: oneshot::Receiver<Answer>, limit: u64) -> Result<Result<Parts, String>, TooMuch> {
    let response = match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => return Ok(Err(format!("the component answered with an error: {code}"))),
        Err(_) => return Ok(Err("the component gave no response".to_owned())),
    };
    let (head, mut incoming) = response.into_parts();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())).collect();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return Ok(Err("the component did not finish its response".to_owned())) };
        let Ok(data) = frame.into_data() else { continue };
        let measured = (body.len() + data.len()) as u64;
        if measured > limit {
            return Err(TooMuch { measured });
        }
        body.extend_from_slice(&data);
    }
    Ok(Ok((head.status.as_u16(), headers, body)))
}

/// The way out for requests that a component makes: host calls.
pub struct Outgoing {
    outside: Arc<Mutex<Broker>>,
}

impl Outgoing {
    /// By this way.
    pub fn new(outside: Arc<Mutex<Broker>>) -> Outgoing {
        Outgoing { outside }
    }
}

/// What comes of a request, and what there is to do besides: nothing.
type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outgoing {
    /// The broker does.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let outside = self.outside.clone();
        Box::new(async move {
            let (head, body) = request.into_parts();
            // The component may be writing it still.
            let body = Limited::new(body, MOST_BODY).collect().await;
            let body = body.map_err(|_| Error::HttpRequestBodySize(Some(MOST_BODY as u64)))?.to_bytes();
            let response = ask(&outside, &head, &body, options)?;
            let done = async { Ok(()) };
            Ok((response, Box::new(done) as _))
        })
    }
}

/// Has the broker make a request; the one thread waits for it.
fn ask(
    outside: &Mutex<Broker>,
    head: &http::request::Parts,
    body: &[u8],
    options: Option<RequestOptions>,
) -> Result<http::Response<WasiBody>, Error> {
    let url = head.uri.to_string();
    let timeout = options.and_then(|options| {
        let nanos = options.first_byte_timeout? + options.connect_timeout.unwrap_or_default();
        u64::try_from(nanos.as_nanos()).ok()
    });
    let request = HttpRequest {
        method: head.method.as_str().as_bytes(),
        url: url.as_bytes(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
            .collect(),
        body: Some(body).filter(|body| !body.is_empty()),
        timeout,
    };
    // One thread: nobody can have died with it.
    let mut outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
    let mut result = Err(Answered::Failed("unexpected reply".to_owned()));
    outside.call(&HostCall::Http(vec![request]), &mut |reply| {
        result = match reply {
            HostReply::Http(results) => {
                results.first().map_or(Err(Answered::Failed(String::new())), answered)
            }
            HostReply::Failed(text) => Err(Answered::Failed(text.to_owned())),
            HostReply::Denied(text) => Err(Answered::Denied(text.to_owned())),
            _ => return,
        };
    });
    result.map_err(|error| match error {
        Answered::Failed(text) => Error::InternalError(Some(text)),
        // The component hears that it may not; why is for the author.
        Answered::Denied(text) => {
            outside.log(Level::Warn, text.as_bytes());
            Error::HttpRequestDenied
        }
    })
}

/// Why there is no response.
enum Answered {
    Failed(String),
    Denied(String),
}

fn answered(result: &HttpResult<'_>) -> Result<http::Response<WasiBody>, Answered> {
    let response = match result {
        HttpResult::Response(response) => response,
        HttpResult::Failed(text) => return Err(Answered::Failed((*text).to_owned())),
        HttpResult::Denied(text) => return Err(Answered::Denied((*text).to_owned())),
    };
    let mut built = http::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        built = built.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(response.body));
    let body = body.map_err(|never| -> Error { match never {} }).boxed_unsync();
    built.body(body).map_err(|error| Answered::Failed(error.to_string()))
}
