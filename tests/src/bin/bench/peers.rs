//! Bare peers to compare with, as lean as they can be written with the same libraries.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use tokio::net::TcpListener;

/// A NATS responder: answers each message with its payload.
///
/// # Errors
/// When the connection fails.
pub async fn echo(url: &str, subject: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut messages = client.queue_subscribe(subject.to_owned(), "q".to_owned()).await?;
    client.flush().await?;
    println!("ready");
    while let Some(message) = messages.next().await {
        if let Some(reply) = message.reply {
            client.publish(reply, message.payload).await?;
        }
    }
    Ok(())
}

/// An HTTP server: answers each request with its body.
///
/// # Errors
/// When it cannot listen.
pub async fn http_echo(address: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let body = request.into_body().collect().await;
                let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
                Ok::<_, Infallible>(hyper::Response::new(Full::new(body)))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let _ = http.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
        });
    }
}
