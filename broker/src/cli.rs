//! temp
#![allow(missing_docs)]
pub fn broker() -> std::process::ExitCode {
    crate::app::serve(crate::config::Config::temp())
}
