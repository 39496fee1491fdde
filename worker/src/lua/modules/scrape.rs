use super::super::value::Module;
pub const MODULE: Module = Module { name: "scrape", functions: &[], lua: None };
