//! `mysql`, `postgres` and `sqlite3`: one kind of client, whose queries go to a server or to a file of a granted
//! folder (both by the broker), or to a SQLite in this process's memory.
//!
//! Takes what a script says, gives rows as tables or `nil, error`.

mod connect;
mod query;

use std::collections::HashMap;

use msgscript_proto::host::{HostCall, HostReply};

use crate::lua::Ctx;
use crate::lua::value::{Args, Fail, Handle, HostFn, Kind, Module, Ret};
use crate::sqlite::Database;

/// `mysql`.
pub const MYSQL: Module =
    Module { name: "mysql", functions: SERVER, lua: Some(include_str!("sql/mysql.lua")) };

/// `postgres`: the same client; a string without a scheme is one of libpq's.
pub const POSTGRES: Module =
    Module { name: "postgres", functions: POSTGRES_FUNCTIONS, lua: Some(include_str!("sql/mysql.lua")) };

/// `sqlite3`.
pub const SQLITE: Module = Module {
    name: "sqlite3",
    functions: &[
        ("sqlite3.new", new_sqlite),
        ("open", connect::open),
        ("query", query::query),
        ("close", close),
        ("set_timeout", set_timeout),
    ],
    lua: Some(include_str!("sql/sqlite.lua")),
};

const SERVER: &[(&str, HostFn)] = &[
    ("mysql.new", new_server),
    ("mysql.escape", escape),
    ("connect", connect::mysql),
    ("query", query::query),
    ("close", close),
    ("set_timeout", set_timeout),
    ("set_keepalive", set_keepalive),
];

const POSTGRES_FUNCTIONS: &[(&str, HostFn)] = &[
    ("postgres.new", new_postgres),
    ("postgres.escape", escape),
    ("connect", connect::mysql),
    ("query", query::query),
    ("close", close),
    ("set_timeout", set_timeout),
    ("set_keepalive", set_keepalive),
];

/// The clients of a run, and the databases in its memory.
#[derive(Default)]
pub struct Clients {
    list: Vec<Client>,
    /// Databases in memory by file name: clients that open the same name share one.
    named: HashMap<Vec<u8>, Database>,
}

/// A client.
struct Client {
    /// What a string without a scheme is for.
    plain: Plain,
    target: Target,
    /// The longest a query of a server may take, in milliseconds; 0: as long as the run.
    timeout: u32,
}

/// What a client's string without a scheme is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    MySql,
    Postgres,
    File,
}

/// Where a client's queries go.
enum Target {
    /// Nowhere: not connected, or closed.
    Nothing,
    /// To the broker, under the client's number.
    Broker,
    /// To this database.
    Own(Database),
    /// To the database of that name.
    Named { name: Vec<u8>, read_only: bool },
}

fn new_server(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    add(ctx, Plain::MySql, Kind::SqlClient, ret)
}

fn new_postgres(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    add(ctx, Plain::Postgres, Kind::SqlClient, ret)
}

fn new_sqlite(ctx: &mut Ctx, _: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    add(ctx, Plain::File, Kind::SqliteClient, ret)
}

fn add(ctx: &mut Ctx, plain: Plain, kind: Kind, ret: &mut Ret) -> Result<(), Fail> {
    let index = u32::try_from(ctx.sql.list.len()).unwrap_or(u32::MAX);
    ctx.sql.list.push(Client { plain, target: Target::Nothing, timeout: 0 });
    ret.handle(Handle { kind, index });
    Ok(())
}

/// The number of the client that a method was called on.
fn this(ctx: &Ctx, args: &Args<'_>) -> Result<u32, Fail> {
    let index = args
        .handle(1, Kind::SqlClient, "client")
        .or_else(|_| args.handle(1, Kind::SqliteClient, "client"))
        .map_err(|_| args.bad(1, "client expected"))?;
    if (index as usize) < ctx.sql.list.len() { Ok(index) } else { Err(args.bad(1, "client expected")) }
}

impl Clients {
    /// A client by its number, which [`this`] has checked.
    fn client(&mut self, index: u32) -> &mut Client {
        &mut self.list[index as usize]
    }
}

/// `client:close()` → true; also when it is closed.
fn close(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    disconnect(ctx, index);
    ret.bool(true);
    Ok(())
}

/// Ends what a client is connected to.
fn disconnect(ctx: &mut Ctx, client: u32) {
    let before = std::mem::replace(&mut ctx.sql.client(client).target, Target::Nothing);
    if matches!(before, Target::Broker) {
        // Nothing that it could say would matter to the script.
        ctx.outside.call(&HostCall::SqlClose { client }, &mut |_: HostReply<'_>| {});
    }
}

/// `client:set_timeout(ms)`. Has no use for SQLite, where the Go server's broke every later query.
fn set_timeout(ctx: &mut Ctx, args: &Args<'_>, _: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    let ms = args.int_or(2, 0)?.max(0);
    ctx.sql.client(index).timeout = u32::try_from(ms).unwrap_or(u32::MAX);
    Ok(())
}

/// `client:set_keepalive(idle_ms, pool)` → true; and an error if it is not connected.
fn set_keepalive(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let index = this(ctx, args)?;
    ret.bool(true);
    if matches!(ctx.sql.client(index).target, Target::Nothing) {
        ret.str("connect required");
    }
    Ok(())
}

/// `escape(text)`: for use between quotes in MySQL's SQL.
fn escape(_: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let text = args.loose_string(1);
    let mut out = Vec::with_capacity(text.len());
    for byte in text.iter() {
        match byte {
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x1a => out.extend_from_slice(b"\\Z"),
            b'\\' | b'\'' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            _ => out.push(*byte),
        }
    }
    ret.str(out);
    Ok(())
}

#[cfg(test)]
mod tests;
