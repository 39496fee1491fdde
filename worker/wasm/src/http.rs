//! Components of the world `wasi:http/proxy`: one request in, one response out.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use msgscript_proto::message::{Entry, Invoke};
use tokio::sync::oneshot;
use wasmtime::{Result, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use crate::budget::Budget;
use crate::command::Surroundings;
use crate::preview2::Preview2;
use crate::run::{Ended, Failed, judge};
use crate::streams::TooMuch;

/// Bytes of standard output and error that go to the log.
const LOG: u64 = 64 << 10;

/// What a handler answers with, or why it did not.
type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Has the component answer a request. Messages are none.
pub async fn run(pre: &ProxyPre<Preview2>, invoke: &Invoke<'_>) -> Ended {
    let Entry::Http { method, url, .. } = invoke.entry else { return Ended::NoFunction };
    let mut surroundings = Surroundings::new(LOG);
    let wasi = surroundings.builder().build();
    let mut store = Store::new(pre.engine(), Preview2::new(wasi, Budget::new(invoke.limits.memory)));
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

/// The way out for requests that a component makes.
pub struct Outgoing;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

/// The response, and what comes of it.
type Sending = Box<
    dyn Future<
            Output = Result<
                (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>),
                Error,
            >,
        > + Send,
>;
