//! What a statement gave, from either kind of server.

use futures_util::{Stream, TryStreamExt};
use msgscript_proto::sql::{Table, TooLarge, Value};
use sqlx::{Column, Row};

use super::failure::Failure;
use super::pool::Problem;

impl From<TooLarge> for Failure {
    fn from(_: TooLarge) -> Failure {
        Failure::Broken("limit of bytes that host calls may bring in reached".to_owned())
    }
}

/// Collects rows as they come in, at most that many bytes; `value` reads the value of a column.
pub(super) async fn collect<R: Row>(
    mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
    most: u64,
    value: impl Fn(&R, usize) -> Result<Value, sqlx::Error>,
) -> Result<Table, Problem> {
    let mut table = Table::default();
    while let Some(row) = rows.try_next().await? {
        if table.columns.is_empty() {
            table.columns = row.columns().iter().map(|column| column.name().as_bytes().to_vec()).collect();
        }
        for at in 0..row.columns().len() {
            table.push(value(&row, at)?, most).map_err(Failure::from)?;
        }
    }
    Ok(table)
}
