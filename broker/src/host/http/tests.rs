use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::catalog::Script;
use crate::host::net::resolve::Resolve;
use crate::host::tcp::Connections;
use crate::invocation::{Call, Invocation, Message};
use crate::policy::grants::Egress;
use crate::policy::testing::{named, open};

/// Gives its answers in turn.
struct Rebinding(std::cell::RefCell<VecDeque<Vec<IpAddr>>>, Rc<Cell<usize>>);

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<Vec<IpAddr>, String>> {
        self.1.set(self.1.get() + 1);
        let answer = self.0.borrow_mut().pop_front();
        Box::pin(async move { answer.ok_or_else(|| "no such host".to_owned()) })
    }
}

/// Answers each connection's one request with these bytes; counts connections.
async fn server(address: SocketAddr, answer: String) -> (u16, Rc<Cell<usize>>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (port, hits) = (listener.local_addr().unwrap().port(), Rc::new(Cell::new(0)));
    let count = hits.clone();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.set(count.get() + 1);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, hits)
}

fn caller() -> Caller {
    let script = Rc::new(Script::for_test("s", "n"));
    let message = Message {
        subject: "s".into(),
        shown_subject: "s".into(),
        call: Call::Message,
        payload: bytes::Bytes::new(),
        headers: Rc::new([]),
        arrived: Instant::now(),
        trace: None,
    };
    let wall = Duration::from_secs(10);
    let deadline = Instant::now() + wall;
    let invocation = Invocation { id: 1, script, message, wall, deadline, held: None, trace: None };
    let (connections, clients) = (Rc::<Connections>::default(), Rc::default());
    Caller { invocation: Rc::new(invocation), room: 1 << 20, connections, clients, span: None }
}

fn request(url: &str) -> Request {
    Request { method: "GET".into(), url: url.into(), headers: Vec::new(), body: None, timeout: None }
}

async fn get(client: &Client, policy: &Policy, url: &str) -> Result<Response, String> {
    let answer = client.fetch_all(policy, &Secrets::default(), &caller(), vec![request(url)]).await;
    let Answer::Http(mut fetched) = answer else { panic!("{answer:?}") };
    match fetched.pop().unwrap() {
        Fetched::Response(response) => Ok(response),
        Fetched::Failed(text) | Fetched::Denied(text) => Err(text),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// P04: a name is resolved once a request; what it is bound to afterwards is judged anew.
#[tokio::test]
async fn p04_rebinding_reaches_nothing() {
    let local = LocalSet::new();
    local.run_until(rebinding()).await;
}

async fn rebinding() {
    let (port, good) = server(SocketAddr::new(address("127.0.0.2"), 0), OK.into()).await;
    let (_, canary) = server(SocketAddr::new(address("127.0.0.1"), port), OK.into()).await;
    let mut policy = named();
    let listed = [format!("http://rebind.example:{port}"), format!("http://127.0.0.2:{port}")];
    policy.grants.http = Egress::Listed(listed.iter().map(|origin| origin.parse().unwrap()).collect());
    let answers = [
        vec![address("127.0.0.2")],
        vec![address("127.0.0.1")],
        vec![address("127.0.0.2"), address("127.0.0.1")],
        vec![address("::ffff:127.0.0.1")],
    ];
    let asked = Rc::new(Cell::new(0));
    let resolver = Rebinding(VecDeque::from(answers).into(), asked.clone());
    let client = Client::new(Rc::new(Net::new(Box::new(resolver))));
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(&*get(&client, &policy, &url).await.unwrap().body, b"ok");
    assert_eq!((asked.get(), good.get()), (1, 1), "one look-up, one connection");
    for _ in 0..3 {
        let told = get(&client, &policy, &url).await.unwrap_err();
        assert!(told.starts_with("denied: acme has no grant to reach"), "{told}");
    }
    assert_eq!((good.get(), canary.get()), (1, 0));
}

/// P05: each hop of a named tenant's request must be listed.
#[tokio::test]
async fn p05_redirects_to_what_is_not_listed() {
    LocalSet::new().run_until(redirects()).await;
}

async fn redirects() {
    let (canary_port, canary) = server("127.0.0.1:0".parse().unwrap(), OK.into()).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{canary_port}/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (port, hits) = server("127.0.0.1:0".parse().unwrap(), answer).await;
    let mut policy = named();
    policy.grants.http = Egress::Listed(vec![format!("http://127.0.0.1:{port}").parse().unwrap()]);
    let client = Client::new(Rc::default());
    let told = get(&client, &policy, &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(told.starts_with("denied: acme has no grant to send GET to"), "{told}");
    assert_eq!((hits.get(), canary.get()), (1, 0));
    assert!(get(&client, &open(), &format!("http://127.0.0.1:{port}/")).await.is_ok(), "`default` may");
}

#[tokio::test]
async fn what_may_come_in_is_bounded_by_the_budget() {
    LocalSet::new().run_until(budget()).await;
}

async fn budget() {
    let body = "x".repeat(3000);
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n{body}");
    let (port, _) = server("127.0.0.1:0".parse().unwrap(), answer).await;
    let client = Client::new(Rc::default());
    let caller = Caller { room: 5000, ..caller() };
    let two = vec![request(&format!("http://127.0.0.1:{port}/")); 2];
    let Answer::Http(fetched) = client.fetch_all(&open(), &Secrets::default(), &caller, two).await else {
        panic!("no answers");
    };
    let good = fetched.iter().filter(|fetched| matches!(fetched, Fetched::Response(_))).count();
    assert_eq!(good, 1, "the second is over what both may bring in: {fetched:?}");
    let many = vec![request("http://127.0.0.1/"); MOST_REQUESTS + 1];
    let refused = client.fetch_all(&open(), &Secrets::default(), &caller, many).await;
    assert!(matches!(refused, Answer::Failed(_)), "{refused:?}");
}
