//! The scratch folder: a tree of files in memory.

/// The scratch folder of one invocation.
#[derive(Debug, Default)]
pub struct Scratch {}
