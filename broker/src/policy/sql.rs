//! Which databases a script may use. Pure.

use std::path::{Component, Path};

use super::egress::Target;
use super::grant::FileScope;
use super::grants::Databases;
use super::{Denied, Permitted, Policy};

/// A file to be opened by SQLite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteFile {
    /// Its absolute path.
    pub path: String,
    /// Whether nothing is to be changed.
    pub read_only: bool,
    /// The grant that covers it.
    pub scope: FileScope,
}

impl Policy {
    /// Whether the configured database of that name may be used.
    ///
    /// # Errors
    /// The refusal.
    pub fn database(&self, name: &str) -> Result<Permitted<String>, Denied> {
        let granted = match &self.grants.sql {
            Databases::Open => true,
            Databases::Named(names) => names.iter().any(|known| known == name),
        };
        if granted {
            return Ok(Permitted(name.to_owned()));
        }
        Err(Denied::new(&self.tenant, &format!("use the database {name}"), &format!("sql = [\"{name}\"]")))
    }

    /// Whether a server that the script itself names may be asked, if its addresses may be reached.
    ///
    /// # Errors
    /// The refusal.
    pub fn sql_server(&self, host: &str, port: u16) -> Result<Permitted<Target>, Denied> {
        match &self.grants.sql {
            Databases::Open => self.connect(host, port),
            Databases::Named(_) => {
                let grant = "databases are used by the name of their [database.NAME]";
                Err(Denied::new(&self.tenant, &format!("connect to the SQL server {host}:{port}"), grant))
            }
        }
    }

    /// The grant that covers a file of SQLite's; `None` if there is none, or the path is not a plain absolute
    /// one.
    ///
    /// # Errors
    /// The refusal to write what is granted to be read.
    pub fn sqlite(&self, path: &str, read_only: bool) -> Result<Option<Permitted<SqliteFile>>, Denied> {
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !Path::new(path).is_absolute() || path.contains('\0') || !Path::new(path).components().all(plain) {
            return Ok(None);
        }
        let covers = |scope: &&FileScope| Path::new(path).starts_with(scope.path.as_path());
        // Of several, one that may be written is the better.
        let mut scopes: Vec<&FileScope> = self.grants.files.iter().filter(covers).collect();
        scopes.sort_by_key(|scope| scope.read_only);
        let Some(scope) = scopes.first() else { return Ok(None) };
        if scope.read_only && !read_only {
            let grant = format!("files:{}", scope.path.as_path().display());
            return Err(Denied::new(&self.tenant, &format!("write {path}"), &grant));
        }
        Ok(Some(Permitted(SqliteFile { path: path.to_owned(), read_only, scope: (*scope).clone() })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named, open};
    use super::*;

    #[test]
    fn databases() {
        assert!(open().database("orders").is_ok() && open().sql_server("db.example", 3306).is_ok());
        let mut policy = named();
        assert!(policy.sql_server("db.example", 3306).is_err());
        let refused = policy.database("orders").unwrap_err().to_string();
        assert_eq!(refused, "denied: acme has no grant to use the database orders (sql = [\"orders\"])");
        policy.grants.sql = Databases::Named(vec!["orders".into()]);
        assert!(policy.database("orders").is_ok() && policy.database("users").is_err());
        assert!(policy.sql_server("127.0.0.1", 3306).is_err());
    }

    #[test]
    fn files_of_granted_folders() {
        let mut policy = open();
        assert!(policy.sqlite("/srv/a.db", true).unwrap().is_none());
        policy.grants.files = ["/srv/ro:ro", "/srv/rw"].map(|text| text.parse().unwrap()).into();
        let covered = |path, read_only| policy.sqlite(path, read_only).map(|file| file.is_some());
        assert_eq!(covered("/srv/rw/a.db", false), Ok(true));
        assert_eq!(covered("/srv/ro/a.db", true), Ok(true));
        assert!(covered("/srv/ro/a.db", false).is_err());
        for path in ["/srv/rw2/a.db", "/srv/rw/../ro/a.db", "srv/rw/a.db", "/", "", "/srv/rw/a\0.db"] {
            assert_eq!(covered(path, true), Ok(false), "{path}");
        }
    }
}
