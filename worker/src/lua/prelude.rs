//! The Lua half of what scripts see: run once, while the image is built.
//!
//! [`BASE`] runs in this order, each chunk with the table `host` as its argument: the functions of
//! [`super::modules::BASE`] by name, and what the state's own glue adds (`place`, `id`, `module`,
//! `library`, `chunk`, `kinds`). [`LAZY`] is what `host.chunk(name)` gives on first use; such a chunk
//! is called with `host` too. Scripts reach neither `host` nor the native functions that were replaced.

/// The base environment, in the order in which it is built.
pub const BASE: &[(&str, &str)] = &[
    ("base", include_str!("prelude/base.lua")),
    ("strings", include_str!("prelude/strings.lua")),
    ("tables", include_str!("prelude/tables.lua")),
    ("files", include_str!("prelude/files.lua")),
    ("code", include_str!("prelude/code.lua")),
];

/// What is rarely used, by name.
pub const LAZY: &[(&str, &str)] = &[
    ("format", include_str!("prelude/format.lua")),
    ("sort", include_str!("prelude/sort.lua")),
    ("channel", include_str!("prelude/channel.lua")),
    ("objects", include_str!("prelude/objects.lua")),
];

#[cfg(test)]
mod tests;
