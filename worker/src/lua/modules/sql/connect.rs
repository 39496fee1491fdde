//! `connect` and `open`: where a client's queries go.

use std::borrow::Cow;

use msgscript_proto::host::{HostCall, HostReply};

use super::{Plain, Target, disconnect, this};
use crate::lua::Ctx;
use crate::lua::value::{Arg, Args, Fail, Ret, Token, Tokens};
use crate::sqlite::Database;

/// `client:connect(dsn or options)` → true; or false, error. Does not dial.
pub(super) fn mysql(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    let wrong = || args.bad(2, "options or connection string excepted");
    let dsn: Cow<'_, [u8]> = match args.get(2) {
        Arg::Str(text) if !text.is_empty() => text.into(),
        Arg::Table(options) => options_dsn(options, ctx.sql.client(index).plain).ok_or_else(wrong)?.into(),
        _ => return Err(wrong()),
    };
    disconnect(ctx, index);
    let scheme = dsn.windows(3).position(|window| window == b"://").map(|at| &dsn[..at]);
    let target = match (scheme, ctx.sql.client(index).plain) {
        (Some(b"sqlite3"), _) => return finish(ctx, index, open_file(ctx_path(&dsn), false), ret),
        (Some(b"mysql" | b"postgres" | b"postgresql"), _) | (None, Plain::MySql | Plain::File) => dsn,
        (None, Plain::Postgres) if dsn.contains(&b'=') => [b"postgres://", &*dsn].concat().into(),
        (None, Plain::Postgres) => dsn,
        (Some(other), _) => {
            ret.bool(false);
            let other = String::from_utf8_lossy(other);
            ret.str(format!("sql: unknown driver \"{other}\" (forgotten import?)"));
            return Ok(());
        }
    };
    let result = ask(ctx, &HostCall::SqlConnect { client: index, target: &target });
    done(ctx, index, result.map(|_| Target::Broker), ret);
    Ok(())
}

/// The file behind `sqlite3://`.
fn ctx_path(dsn: &[u8]) -> &[u8] {
    dsn.get(b"sqlite3://".len()..).unwrap_or(b"")
}

/// `client:open(file, options)` → true; or false, error.
pub(super) fn open(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    let Arg::Str(path) = args.get(2) else { return Err(args.bad(2, "file path string excepted")) };
    let Arg::Table(options) = args.get(3) else { return Err(args.bad(3, "options excepted")) };
    let read_only = option(options, b"mode").is_some_and(|mode| mode == b"ro");
    disconnect(ctx, index);
    finish(ctx, index, open_file(path, read_only), ret)
}

/// A file as it is to be opened.
struct File<'a> {
    path: &'a [u8],
    read_only: bool,
}

/// Takes the form `file:name?options` apart.
fn open_file(path: &[u8], read_only: bool) -> File<'_> {
    let Some(uri) = path.strip_prefix(b"file:") else {
        let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
        return File { path: &path[..end], read_only };
    };
    let (path, query) = match uri.iter().position(|byte| *byte == b'?') {
        Some(at) => (&uri[..at], &uri[at + 1..]),
        None => (uri, &b""[..]),
    };
    let mut options = query.split(|byte| *byte == b'&');
    let (memory, ro) = (&b"mode=memory"[..], &b"mode=ro"[..]);
    let read_only = read_only || options.clone().any(|option| option == ro);
    // Two slashes lead in an empty host.
    let path = path.strip_prefix(b"//").filter(|rest| rest.first() == Some(&b'/')).unwrap_or(path);
    let named =
        if options.any(|option| option == memory) && path.starts_with(b"/") { &path[1..] } else { path };
    File { path: named, read_only }
}

/// A file of a granted folder is the broker's; any other name is one of databases in memory.
fn finish(ctx: &mut Ctx, index: u32, file: File<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let File { path, read_only } = file;
    let found = if path.starts_with(b"/") {
        ask(ctx, &HostCall::SqliteOpen { client: index, path, read_only })
    } else {
        Ok(false)
    };
    let target = match found {
        Ok(true) => Ok(Target::Broker),
        Ok(false) if path.is_empty() || path == b":memory:" => {
            Database::in_memory().map(Target::Own).map_err(|error| error.to_string())
        }
        Ok(false) => named(ctx, path, read_only),
        Err(error) => Err(error),
    };
    done(ctx, index, target, ret);
    Ok(())
}

/// The database in memory of that name, made if it is not to be read only.
fn named(ctx: &mut Ctx, name: &[u8], read_only: bool) -> Result<Target, String> {
    if !ctx.sql.named.contains_key(name) {
        if read_only {
            return Err("unable to open database file: no such file or directory".to_owned());
        }
        let database = Database::in_memory().map_err(|error| error.to_string())?;
        ctx.sql.named.insert(name.to_vec(), database);
    }
    Ok(Target::Named { name: name.to_vec(), read_only })
}

fn done(ctx: &mut Ctx, index: u32, target: Result<Target, String>, ret: &mut Ret) {
    match target {
        Ok(target) => {
            ctx.sql.client(index).target = target;
            ret.bool(true);
        }
        Err(error) => {
            ret.bool(false);
            ret.str(error);
        }
    }
}

/// Asks the broker; false if it knows no such thing.
fn ask(ctx: &mut Ctx, call: &HostCall<'_>) -> Result<bool, String> {
    let mut result = Err("unexpected reply".to_owned());
    ctx.outside.call(call, &mut |reply| match reply {
        HostReply::Done => result = Ok(true),
        HostReply::NotFound => result = Ok(false),
        HostReply::Failed(text) | HostReply::Denied(text) => result = Err(text.to_owned()),
        _ => {}
    });
    result
}

/// The string option of that name.
fn option<'a>(mut options: Tokens<'a>, name: &[u8]) -> Option<&'a [u8]> {
    loop {
        match (options.next()?, options.next()?) {
            (Token::Str(key), Token::Str(value)) if key == name => return Some(value),
            (Token::End, _) | (_, Token::Table) => return None,
            _ => {}
        }
    }
}

/// A DSN from the table of options; `None` if it is not one: empty, or an array.
fn options_dsn(mut options: Tokens<'_>, plain: Plain) -> Option<Vec<u8>> {
    let mut given =
        Options { host: b"127.0.0.1", port: None, database: b"", user: b"", password: b"", charset: b"" };
    let mut any = false;
    loop {
        let Token::Str(key) = options.next()? else { break };
        any = true;
        let value = options.next()?;
        match (key, value) {
            (b"host", Token::Str(value)) => given.host = value,
            (b"database", Token::Str(value)) => given.database = value,
            (b"user", Token::Str(value)) => given.user = value,
            (b"password", Token::Str(value)) => given.password = value,
            (b"charset", Token::Str(value)) => given.charset = value,
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates: refused later"
            )]
            (b"port", Token::Num(value)) => given.port = Some(value as u32),
            (_, Token::Table) => return None,
            _ => {}
        }
    }
    any.then(|| if plain == Plain::Postgres { given.postgres() } else { given.mysql() })
}

struct Options<'a> {
    host: &'a [u8],
    port: Option<u32>,
    database: &'a [u8],
    user: &'a [u8],
    password: &'a [u8],
    charset: &'a [u8],
}

impl Options<'_> {
    fn mysql(&self) -> Vec<u8> {
        let mut dsn = self.user.to_vec();
        if !self.password.is_empty() {
            dsn.extend([b":", self.password].concat());
        }
        if !dsn.is_empty() {
            dsn.push(b'@');
        }
        let brackets = self.host.contains(&b':') && !self.host.starts_with(b"[");
        dsn.extend(if brackets {
            [b"tcp([", self.host, b"]:"].concat()
        } else {
            [b"tcp(", self.host, b":"].concat()
        });
        dsn.extend(self.port.unwrap_or(3306).to_string().bytes());
        dsn.extend([b")/", self.database].concat());
        if !self.charset.is_empty() {
            dsn.extend([b"?charset=", self.charset].concat());
        }
        dsn
    }

    fn postgres(&self) -> Vec<u8> {
        let mut dsn = b"postgres://".to_vec();
        let port = self.port.unwrap_or(5432).to_string();
        let fields: [(&str, &[u8]); 5] = [
            ("host", self.host),
            ("port", port.as_bytes()),
            ("dbname", self.database),
            ("user", self.user),
            ("password", self.password),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            dsn.extend(format!("{name}='").bytes());
            for byte in value {
                if matches!(byte, b'\'' | b'\\') {
                    dsn.push(b'\\');
                }
                dsn.push(*byte);
            }
            dsn.extend(b"' ");
        }
        dsn
    }
}
