//! `[user[:password]@][protocol[(address)]]/database[?name=value&…]`, as Go's MySQL driver has it; also
//! `user:password@host:port/database`, as URLs have it.

use super::{Driver, Dsn, DsnError, Place, Tls, address, decoded, wrong};

const PORT: u16 = 3306;

/// Reads what stands behind the scheme, if there is one.
pub(super) fn parse(text: &str) -> Result<Dsn, DsnError> {
    let Some((left, right)) = text.rsplit_once('/') else {
        return wrong("missing the slash separating the database name");
    };
    let (login, net) = left.rsplit_once('@').unwrap_or(("", left));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (database, parameters) = right.split_once('?').unwrap_or((right, ""));
    let mut dsn = Dsn {
        driver: Driver::MySql,
        place: place(net)?,
        user: user.to_owned(),
        password: password.to_owned(),
        database: decoded(database)?,
        tls: Tls::Off,
        charset: String::new(),
    };
    for parameter in parameters.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "tls" => dsn.tls = tls(&decoded(value)?)?,
            // The driver takes the first of several that the server knows.
            "charset" => value.split(',').next().unwrap_or("").clone_into(&mut dsn.charset),
            // The others are about Go's types, about times that the run's own bounds, or would let a script
            // stack statements or read the broker's files: none of them changes anything here.
            _ => {}
        }
    }
    Ok(dsn)
}

fn place(net: &str) -> Result<Place, DsnError> {
    match net.split_once('(') {
        Some((protocol, rest)) => {
            let Some(inner) = rest.strip_suffix(')') else {
                return wrong("network address not terminated (missing closing brace)");
            };
            match protocol {
                "tcp" | "tcp4" | "tcp6" => address(inner, PORT),
                "unix" => Ok(Place::Unix { path: inner.to_owned(), port: PORT }),
                _ => wrong("the protocol is none of tcp and unix"),
            }
        }
        None if matches!(net, "" | "tcp") => address("127.0.0.1", PORT),
        None if net == "unix" => wrong("a socket's path is missing"),
        None => address(net, PORT),
    }
}

fn tls(value: &str) -> Result<Tls, DsnError> {
    Ok(match value {
        "true" | "TRUE" | "1" => Tls::Verify,
        "false" | "FALSE" | "0" | "" => Tls::Off,
        "skip-verify" => Tls::Require,
        "preferred" => Tls::Prefer,
        _ => return wrong("tls is none of true, false, skip-verify and preferred"),
    })
}
