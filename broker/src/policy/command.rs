//! Whether a script may run commands of the host. Pure.

use super::{Denied, Permitted, Policy};
use crate::host::command::Command;

impl Policy {
    /// Whether this may be run: any command, for the tenant `default` with the grant `cmd`.
    ///
    /// # Errors
    /// The refusal.
    pub fn command(&self, command: Command) -> Result<Permitted<Command>, Denied> {
        if self.grants.cmd {
            return Ok(Permitted(command));
        }
        Err(Denied::new(&self.tenant, "run commands", "cmd"))
    }
}

#[cfg(test)]
mod tests {
    use crate::host::command::Command;
    use crate::policy::testing::allowed as policy;

    #[test]
    fn commands_need_their_grant() {
        let command = || Command {
            line: b"true".to_vec(),
            input: bytes::Bytes::new(),
            timeout: std::time::Duration::MAX,
        };
        assert!(policy(&["cmd"]).command(command()).is_ok());
        let denied = policy(&["env:A", "files:/srv"]).command(command()).unwrap_err().to_string();
        assert_eq!(denied, "denied: default has no grant to run commands (cmd)");
    }
}
