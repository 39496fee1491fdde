//! The broker as a client of real nats-servers: logins, TLS, servers that go and come back, and servers that are
//! none.

mod upstream {
    mod hostile;
    mod life;
    mod logins;
}
