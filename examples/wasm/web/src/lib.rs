//! An HTTP handler of the world wasi:http/proxy. Nothing in it knows of msgscript.

use wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Web;

wasi::http::proxy::export!(Web);

impl wasi::exports::http::incoming_handler::Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = format!("You asked for {path} with {} headers.\n", request.headers().entries().len());

        let headers = Fields::new();
        headers.append("content-type", b"text/plain; charset=utf-8").expect("a good header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the first time");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the first time");
        stream.blocking_write_and_flush(text.as_bytes()).expect("the server takes it");
        drop(stream);
        OutgoingBody::finish(body, None).expect("a whole body");
    }
}
