//! The Lua engine: what a script can see, and the functions behind it.
//!
//! Safe Rust on plain values; the state itself is behind [`crate::vm`].

pub mod modules;
pub mod number;
pub mod scratch;
pub mod value;

use scratch::Scratch;

/// What one invocation owns on the Rust side. Dropped and made anew with each.
#[derive(Debug, Default)]
pub struct Ctx {
    /// The scratch folder.
    pub scratch: Scratch,
}
