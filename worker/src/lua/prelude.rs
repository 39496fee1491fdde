//! The Lua half of what scripts see: run once, while the image is built.
//!
//! [`BASE`] runs in this order, each chunk with the table `host` as its argument: the functions of
//! [`super::modules::BASE`] by name, and what the state's own glue adds (`place`, `id`, `module`,
//! `library`, `chunk`, `kinds`). [`LAZY`] is what `host.chunk(name)` gives on first use; such a chunk
//! is called with `host` too. Scripts reach neither `host` nor the native functions that were replaced.

/// The bytecode that the build script made of a chunk.
macro_rules! compiled {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".luac"))
    };
}

/// The base environment, in the order in which it is built: bytecode of `prelude/*.lua`.
pub const BASE: [&[u8]; 5] =
    [compiled!("base"), compiled!("strings"), compiled!("tables"), compiled!("files"), compiled!("code")];

/// What is rarely used, by name.
pub const LAZY: &[(&str, &str)] = &[
    ("format", include_str!("prelude/format.lua")),
    ("sort", include_str!("prelude/sort.lua")),
    ("channel", include_str!("prelude/channel.lua")),
    ("objects", include_str!("prelude/objects.lua")),
];

#[cfg(test)]
mod tests;
