//! `query`: a statement out, rows in.

use msgscript_proto::codec;
use msgscript_proto::host::{HostCall, HostReply};
use msgscript_proto::sql::{Rows, SqlValue, Table, Values};

use super::{Clients, Target, this};
use crate::lua::Ctx;
use crate::lua::value::{Arg, Args, Fail, Ret};
use crate::sqlite::SqlError;

/// `client:query(sql, args…)` → the rows; or nil, error. Nothing at all when it is not connected.
pub(super) fn query(ctx: &mut Ctx, args: &Args<'_>, ret: &mut Ret) -> Result<(), Fail> {
    let client = this(ctx, args)?;
    let sql = args.loose_string(2);
    if sql.is_empty() {
        return Err(args.bad(2, "query string required"));
    }
    let values = match arguments(args)? {
        Ok(values) => values,
        Err(text) => {
            ret.nil_err(text);
            return Ok(());
        }
    };
    let memory = ctx.memory_limit as u64;
    match in_memory(&mut ctx.sql, client, &sql, &values, memory) {
        Some(Ok(table)) => write(&table.as_wire(), ret),
        Some(Err(SqlError::Memory | SqlError::TooLarge)) => return Err(Fail::Memory),
        Some(Err(error)) => ret.nil_err(error.to_string()),
        None if matches!(ctx.sql.client(client).target, Target::Broker) => {
            by_broker(ctx, client, &sql, values, ret);
        }
        None => {}
    }
    Ok(())
}

/// The arguments from the third on, or what Go says of one that cannot be.
fn arguments<'a>(args: &Args<'a>) -> Result<Result<Vec<SqlValue<'a>>, String>, Fail> {
    let mut values = Vec::new();
    for n in 3..=args.len() {
        values.push(match args.get(n) {
            Arg::Nil => SqlValue::Null,
            Arg::Bool(value) => SqlValue::Bool(value),
            #[allow(clippy::cast_possible_truncation, reason = "whole and in range")]
            Arg::Num(number) if number.trunc() == number && number.abs() < 9.0e18 => {
                SqlValue::Int(number as i64)
            }
            Arg::Num(number) => SqlValue::Float(number),
            Arg::Str(text) => SqlValue::Text(text),
            Arg::Table(_) => {
                let kind = "unsupported type map[string]interface {}, a map";
                return Ok(Err(format!("sql: converting argument ${} type: {kind}", n - 2)));
            }
            Arg::Handle(_) | Arg::Other(_) => return Err(args.bad(n, "unsupported type of argument")),
        });
    }
    Ok(Ok(values))
}

/// Runs it here, if the client's database is here.
fn in_memory(
    clients: &mut Clients,
    client: u32,
    sql: &[u8],
    values: &[SqlValue<'_>],
    most: u64,
) -> Option<Result<Table, SqlError>> {
    let Clients { list, named } = clients;
    match &list[client as usize].target {
        Target::Nothing | Target::Broker => None,
        Target::Own(database) => Some(database.query(sql, values, most)),
        Target::Named { name, read_only } => {
            let database = named.get(name)?;
            let rule = if *read_only { "PRAGMA query_only = ON" } else { "PRAGMA query_only = OFF" };
            Some(database.query(rule.as_bytes(), &[], most).and_then(|_| database.query(sql, values, most)))
        }
    }
}

fn by_broker(ctx: &mut Ctx, client: u32, sql: &[u8], values: Vec<SqlValue<'_>>, ret: &mut Ret) {
    let mut encoded = Vec::new();
    if let Err(error) = codec::encode(&Values(values), &mut encoded) {
        return ret.nil_err(error.to_string());
    }
    let timeout = ctx.sql.client(client).timeout;
    let call = HostCall::SqlQuery { client, timeout, sql, args: &encoded };
    ctx.outside.call(&call, &mut |reply| match reply {
        HostReply::Rows(rows) => write(&rows, ret),
        HostReply::Failed(text) | HostReply::Denied(text) => ret.nil_err(text),
        _ => ret.nil_err("unexpected reply"),
    });
}

/// Rows as tables by column name: of columns of one name the last counts, a NULL is absent.
fn write(rows: &Rows<'_>, ret: &mut Ret) {
    let columns = &rows.columns;
    ret.begin_table();
    if !columns.is_empty() {
        let last: Vec<bool> =
            (0..columns.len()).map(|at| !columns[at + 1..].contains(&columns[at])).collect();
        for (number, row) in (1_u32..).zip(rows.values.chunks(columns.len())) {
            ret.num(number.into());
            ret.begin_table();
            for ((name, value), last) in columns.iter().zip(row).zip(&last) {
                if *last && *value != SqlValue::Null {
                    ret.str(name);
                    write_value(value, ret);
                }
            }
            ret.end_table();
        }
    }
    ret.end_table();
}

fn write_value(value: &SqlValue<'_>, ret: &mut Ret) {
    match *value {
        SqlValue::Null => ret.nil(),
        SqlValue::Bool(value) => ret.bool(value),
        #[allow(clippy::cast_precision_loss, reason = "numbers are doubles")]
        SqlValue::Int(value) => ret.num(value as f64),
        SqlValue::Float(value) => ret.num(value),
        SqlValue::Text(bytes) => ret.str(bytes),
    }
}
