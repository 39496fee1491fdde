//! `user:password@host:port/database?name=value`, or libpq's `host=… port=… dbname=…` with quotes.

use super::{Driver, Dsn, DsnError, Place, Tls, address, decoded, port, wrong};

const PORT: u16 = 5432;

/// Reads what stands behind the scheme.
pub(super) fn parse(text: &str) -> Result<Dsn, DsnError> {
    let key = text.trim_start().split('=').next().unwrap_or("").trim_end();
    let is_list = text.contains('=')
        && !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_list { list(text) } else { url(text) }
}

fn empty() -> Dsn {
    Dsn {
        driver: Driver::Postgres,
        place: Place::Tcp { host: "127.0.0.1".to_owned(), port: PORT },
        user: "postgres".to_owned(),
        password: String::new(),
        database: String::new(),
        tls: Tls::Prefer,
        charset: String::new(),
    }
}

fn url(text: &str) -> Result<Dsn, DsnError> {
    let mut dsn = empty();
    let (text, parameters) = text.split_once('?').unwrap_or((text, ""));
    let (login, rest) = text.rsplit_once('@').unwrap_or(("", text));
    let (net, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    if !net.is_empty() {
        dsn.place = address(&decoded(net)?, PORT)?;
    }
    if !user.is_empty() {
        dsn.user = decoded(user)?;
    }
    dsn.password = decoded(password)?;
    dsn.database = decoded(database)?;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        set(&mut dsn, &decoded(name)?, &decoded(value)?)?;
    }
    finish(dsn)
}

fn list(text: &str) -> Result<Dsn, DsnError> {
    let mut dsn = empty();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((name, behind)) = rest.split_once('=') else { return wrong("missing \"=\" after a name") };
        let (value, behind) = value(behind.trim_start())?;
        set(&mut dsn, name.trim(), &value)?;
        rest = behind.trim_start();
    }
    finish(dsn)
}

/// A value, quoted or not, and what follows it.
fn value(text: &str) -> Result<(String, &str), DsnError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return wrong("a value ends with a backslash"),
            },
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted { wrong("a quoted value has no end") } else { Ok((value, "")) }
}

fn set(dsn: &mut Dsn, name: &str, value: &str) -> Result<(), DsnError> {
    match name {
        "host" | "hostaddr" => {
            let Place::Tcp { host, .. } = &mut dsn.place else { return Ok(()) };
            value.trim_matches(['[', ']']).clone_into(host);
        }
        "port" => {
            let number = port(value)?;
            match &mut dsn.place {
                Place::Tcp { port, .. } | Place::Unix { port, .. } => *port = number,
            }
        }
        "user" => value.clone_into(&mut dsn.user),
        "password" => value.clone_into(&mut dsn.password),
        "dbname" | "database" => value.clone_into(&mut dsn.database),
        "sslmode" => dsn.tls = tls(value)?,
        // The others are about times that the run's own bounds, or about files of the broker's.
        _ => {}
    }
    Ok(())
}

/// A host that is a path is a folder of sockets.
fn finish(mut dsn: Dsn) -> Result<Dsn, DsnError> {
    if let Place::Tcp { host, port } = &dsn.place {
        if host.contains(',') {
            return wrong("only one host can be named");
        }
        if host.starts_with('/') {
            dsn.place = Place::Unix { path: host.clone(), port: *port };
        }
    }
    Ok(dsn)
}

fn tls(mode: &str) -> Result<Tls, DsnError> {
    Ok(match mode {
        "disable" => Tls::Off,
        "allow" | "prefer" => Tls::Prefer,
        "require" => Tls::Require,
        "verify-ca" => Tls::VerifyCa,
        "verify-full" => Tls::Verify,
        _ => return wrong("sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"),
    })
}
