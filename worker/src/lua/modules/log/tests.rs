//! The two functions below the loggers.

use super::super::super::testing::{call, text};
use super::*;

#[test]
fn lines_go_to_the_log_at_their_level() {
    let mut ctx = Ctx::default();
    for level in ["DEBUG", "INFO", "WARN", "ERROR", "OTHER"] {
        call(emit, &mut ctx, &[level.into(), "x".into()]).unwrap();
    }
    let levels: Vec<Level> = ctx.log_sink.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Info]);
}

#[test]
fn stamps_follow_the_layout() {
    let mut ctx = Ctx::default();
    let stamp =
        text(&call(stamp, &mut ctx, &["2006/01/02 15:04:05.000000 Z07".into(), true.into()]).unwrap());
    assert_eq!(stamp.len(), "2006/01/02 15:04:05.000000 Z".len());
    assert!(stamp.starts_with("20") && stamp.ends_with(" Z"));
}
