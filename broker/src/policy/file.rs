//! Which files of the host a script may use, and whether it may change them. Pure: what links mean is for
//! the kernel to judge (`host/files.rs`).

use std::path::{Component, Path, PathBuf};

use super::grant::FileScope;
use super::{Denied, Permitted, Policy};
use crate::host::files::{Act, Operation};

/// An operation within one granted folder.
#[derive(Debug)]
pub struct Placed {
    /// The granted folder (or file).
    pub scope: PathBuf,
    /// Where beneath it; empty for the folder itself.
    pub beneath: PathBuf,
    /// What to do there.
    pub act: Act,
    /// For a change of name: the new one beneath the folder; `None` if it is in another grant.
    pub to: Option<PathBuf>,
}

impl Policy {
    /// Whether this may be done: beneath a granted folder, and only to read if the grant says so. The grant
    /// with the longest path decides.
    ///
    /// # Errors
    /// The refusal.
    pub fn file(&self, operation: Operation) -> Result<Permitted<Placed>, Denied> {
        let Operation { path, act } = operation;
        let changes = act.changes();
        let scope = self.scope(&path, changes)?;
        let to = match &act {
            Act::Rename { to } => {
                let same = self.scope(to, true)? == scope;
                same.then(|| beneath(scope, to)).flatten()
            }
            _ => None,
        };
        let beneath = beneath(scope, &path).unwrap_or_default();
        Ok(Permitted(Placed { scope: scope.path.as_path().to_owned(), beneath, act, to }))
    }

    fn scope(&self, path: &Path, changes: bool) -> Result<&FileScope, Denied> {
        let plain = path.is_absolute()
            && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let scopes = self.grants.files.iter().filter(|scope| plain && beneath(scope, path).is_some());
        let scope = scopes.max_by_key(|scope| (scope.path.as_path().as_os_str().len(), scope.read_only));
        match scope {
            Some(scope) if !(changes && scope.read_only) => Ok(scope),
            _ => {
                let verb = if changes { "write" } else { "read" };
                let shown = path.to_string_lossy();
                let what = format!("{verb} {}", shown.escape_debug());
                let grant = scope.map_or(path, |scope| scope.path.as_path()).to_string_lossy();
                Err(Denied::new(&self.tenant, &what, &format!("files:{}", grant.escape_debug())))
            }
        }
    }
}

fn beneath(scope: &FileScope, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(scope.path.as_path()).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::allowed as policy;

    fn operation(path: &str, act: Act) -> Operation {
        Operation { path: path.into(), act }
    }

    const STAT: Act = Act::Stat { follow: true };

    #[test]
    fn only_what_lies_beneath_a_grant() {
        let policy = policy(&["files:/srv/acme", "files:/srv/acme/fixed:ro", "files:/srv/list.txt:ro"]);
        let placed = policy.file(operation("/srv/acme/a/b", STAT)).unwrap().into_inner();
        assert_eq!(
            (placed.scope.as_path(), placed.beneath.as_path()),
            (Path::new("/srv/acme"), Path::new("a/b"))
        );
        for path in ["/srv/acme", "/srv/acme/fixed/x", "/srv/list.txt"] {
            assert!(policy.file(operation(path, STAT)).is_ok(), "{path}");
        }
        for path in [
            "/srv",
            "/",
            "/etc/passwd",
            "/srv/acmex",
            "/srv/acme/../x",
            "srv/acme/x",
            "",
            "/srv/acme/x/../../../etc",
        ] {
            assert!(policy.file(operation(path, STAT)).is_err(), "{path}");
        }
    }

    #[test]
    fn the_nearest_grant_says_whether_to_write() {
        let policy = policy(&["files:/srv/acme", "files:/srv/acme/fixed:ro"]);
        assert!(policy.file(operation("/srv/acme/x", Act::Remove)).is_ok());
        let denied = policy.file(operation("/srv/acme/fixed/x", Act::Remove)).unwrap_err().to_string();
        assert_eq!(denied, "denied: default has no grant to write /srv/acme/fixed/x (files:/srv/acme/fixed)");
        for (to, ok, within) in
            [("/srv/acme/y", true, true), ("/srv/acme/fixed/y", false, false), ("/etc/y", false, false)]
        {
            let moved = policy.file(operation("/srv/acme/x", Act::Rename { to: to.into() }));
            assert_eq!(moved.is_ok(), ok, "{to}");
            assert_eq!(moved.is_ok_and(|moved| moved.into_inner().to.is_some()), within, "{to}");
        }
    }
}
