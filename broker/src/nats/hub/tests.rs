//! The hub with the broker's own subscribers (clients: see the integration tests).

use super::*;

fn message<'a>(subject: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish { subject, reply: None, headers: None, payload }
}

fn counter(hub: &Rc<Hub>, pattern: &str, queue: Option<&str>) -> (SubscriptionId, Rc<Cell<u32>>) {
    let count = Rc::new(Cell::new(0));
    let seen = count.clone();
    let handler = Rc::new(move |_: Delivery<'_>| seen.set(seen.get() + 1));
    (hub.subscribe(pattern, queue, handler).unwrap(), count)
}

#[test]
fn one_of_a_group_and_every_plain_one() {
    let hub = Hub::new(Settings::default());
    let members =
        [counter(&hub, "a.b", Some("q")), counter(&hub, "a.*", Some("q")), counter(&hub, "a.b", Some("q"))];
    let (_, other) = counter(&hub, "a.>", Some("r"));
    let (plain, all) = counter(&hub, ">", None);
    for _ in 0..300 {
        assert_eq!(hub.publish(&message("a.b", b"")), Ok(true));
    }
    let counts: Vec<u32> = members.iter().map(|(_, count)| count.get()).collect();
    assert_eq!(counts.iter().sum::<u32>(), 300, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 50), "spread over patterns, too: {counts:?}");
    assert_eq!((other.get(), all.get()), (300, 300));
    hub.unsubscribe(plain);
    assert_eq!(hub.publish(&message("x", b"")), Ok(false));
    assert_eq!(all.get(), 300);
}

#[test]
fn handlers_may_publish_and_unsubscribe() {
    let hub = Hub::new(Settings::default());
    let (second, seen) = counter(&hub, "second", None);
    let inner = Rc::downgrade(&hub);
    let handler = Rc::new(move |delivery: Delivery<'_>| {
        let hub = inner.upgrade().unwrap();
        assert_eq!(delivery.payload_bytes(), "x");
        assert_eq!(hub.publish(&message(delivery.reply.unwrap(), b"y")), Ok(true));
        hub.unsubscribe(second);
    });
    hub.subscribe("first", None, handler).unwrap();
    hub.publish(&Publish { reply: Some("second"), ..message("first", b"x") }).unwrap();
    assert_eq!(seen.get(), 1);
    assert_eq!(hub.publish(&message("second", b"")), Ok(false));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let hub = Hub::new(Settings { max_payload: 4, ..Settings::default() });
    assert_eq!(hub.publish(&message("a b", b"")), Err(PublishError::Subject("a b".into())));
    assert_eq!(hub.publish(&message("a.*", b"")), Err(PublishError::Subject("a.*".into())));
    let reply = Publish { reply: Some("r\r\nPING"), ..message("a", b"") };
    assert_eq!(hub.publish(&reply), Err(PublishError::Subject("r\r\nPING".into())));
    let large = Publish { headers: Some(b"123"), ..message("a", b"12") };
    assert_eq!(hub.publish(&large), Err(PublishError::TooLarge { size: 5, max: 4 }));
    assert!(hub.subscribe("a.>.b", None, Rc::new(|_| ())).is_err());
}
