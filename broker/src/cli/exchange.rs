//! `diff`, `export`, `import`: between a folder of scripts and an etcd.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::etcd::Etcd;
use crate::catalog::file::Folders;
use crate::catalog::header::{Requires, lua_text, without_kept};
use crate::catalog::record::Record;
use crate::catalog::{Snapshot, file};

/// Scripts by subject and name, libraries by name.
#[derive(Default)]
struct Content {
    scripts: BTreeMap<(String, String), Record>,
    libraries: BTreeMap<String, Vec<u8>>,
}

impl Content {
    /// What a folder holds. All of it must be good: nothing half-read is put anywhere.
    async fn of_folder(folders: &Folders, errors: &mut dyn Write) -> Result<Content> {
        let snapshot = file::load(folders).await?;
        let rejected: Vec<_> = snapshot.problems.iter().filter(|problem| problem.rejects).collect();
        for problem in &rejected {
            writeln!(errors, "{problem}")?;
        }
        if !rejected.is_empty() {
            bail!("{} of the files would be rejected; nothing was done", rejected.len());
        }
        Ok(Content::of(&snapshot))
    }

    fn of(snapshot: &Snapshot) -> Content {
        let scripts = snapshot
            .index
            .list()
            .iter()
            .map(|script| ((script.subject.to_string(), script.name.to_string()), Record::of(script)));
        let libraries = snapshot.libraries.shared.all().map(|(name, library)| {
            (name.to_string(), without_kept(&lua_text(&library.part.text), Requires::Stay))
        });
        Content { scripts: scripts.collect(), libraries: libraries.collect() }
    }

    /// What an etcd holds; what cannot be read of it is told and left out.
    async fn of_etcd(etcd: &mut Etcd, errors: &mut dyn Write) -> Result<Content> {
        let mut content = Content::default();
        for script in etcd.scripts().await? {
            match script {
                Ok(mut record) => {
                    if record.executor.is_empty() {
                        "lua".clone_into(&mut record.executor);
                    }
                    record.libraries = record.libraries.filter(|names| !names.is_empty());
                    content.scripts.insert((record.subject.clone(), record.name.clone()), record);
                }
                Err(error) => writeln!(errors, "{error}")?,
            }
        }
        content.libraries =
            etcd.libraries().await?.into_iter().map(|found| (found.key, found.value)).collect();
        Ok(content)
    }
}

/// Shows what differs: `+` only in the folder, `-` only in etcd, `~` in both and not the same. Status 1 if
/// anything does.
pub(super) async fn diff(
    etcd: &mut Etcd,
    folders: &Folders,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let folder = Content::of_folder(folders, errors).await?;
    let etcd = Content::of_etcd(etcd, errors).await?;
    let (in_folder, in_etcd) = (alike(folder.scripts), alike(etcd.scripts));
    let scripts = compare(&in_folder, &in_etcd);
    let libraries = compare(&folder.libraries, &etcd.libraries);
    for (mark, (subject, name)) in &scripts {
        writeln!(out, "{mark} {subject}/{name}")?;
    }
    for (mark, name) in &libraries {
        writeln!(out, "{mark} library {name}")?;
    }
    Ok(if scripts.is_empty() && libraries.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records as they are compared: without empty lines at the top, of which those of Go servers have none.
fn alike(mut scripts: BTreeMap<(String, String), Record>) -> BTreeMap<(String, String), Record> {
    for record in scripts.values_mut() {
        let start = record.content.iter().position(|byte| !matches!(byte, b'\n' | b'\r'));
        record.content.drain(..start.unwrap_or(record.content.len()));
    }
    scripts
}

fn compare<'a, K: Ord, V: PartialEq>(
    folder: &'a BTreeMap<K, V>,
    etcd: &'a BTreeMap<K, V>,
) -> Vec<(char, &'a K)> {
    let mut marks: Vec<(char, &K)> = Vec::new();
    for (key, value) in folder {
        match etcd.get(key) {
            None => marks.push(('+', key)),
            Some(other) if other != value => marks.push(('~', key)),
            Some(_) => {}
        }
    }
    marks.extend(etcd.keys().filter(|key| !folder.contains_key(key)).map(|key| ('-', key)));
    marks.sort_by(|a, b| a.1.cmp(b.1));
    marks
}

/// Puts what a folder holds; what is only in etcd stays.
pub(super) async fn import(
    etcd: &mut Etcd,
    folders: &Folders,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let folder = Content::of_folder(folders, errors).await?;
    // Libraries first: no script is there before what it requires.
    for (name, text) in folder.libraries {
        writeln!(out, "library {name}")?;
        etcd.put_library(&name, text).await?;
    }
    for record in folder.scripts.values() {
        writeln!(out, "{}/{}", record.subject, record.name)?;
        etcd.put_script(record).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what an etcd holds into a folder: `SUBJECT/NAME.lua`, `libs/NAME.lua`. Files that are there and
/// differ are not touched, unless `force`.
pub(super) async fn export(
    etcd: &mut Etcd,
    folder: &Path,
    force: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<ExitCode> {
    let content = Content::of_etcd(etcd, errors).await?;
    let scripts = content.scripts.values().map(|record| {
        let place = PathBuf::from(file_name(&record.subject)).join(file_name(&record.name) + ".lua");
        (place, record.to_file())
    });
    let libraries = content.libraries.into_iter().map(|(name, text)| {
        let place: PathBuf = name.split('/').map(file_name).collect();
        (Path::new("libs").join(place).with_added_extension("lua"), text)
    });
    let mut kept = 0;
    for (place, text) in scripts.chain(libraries) {
        let path = folder.join(&place);
        let old = fs::read(&path).ok();
        if old.as_ref().is_some_and(|old| *old != text) && !force {
            writeln!(errors, "{} differs and is kept; --force overwrites", path.display())?;
            kept += 1;
            continue;
        }
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        writeln!(out, "{}", place.display())?;
    }
    Ok(if kept == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A name as one part of a path: whatever would lead elsewhere is written in hexadecimal.
fn file_name(name: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '>' | ' ' | '@' | '+');
    let mut text = String::new();
    for (at, c) in name.chars().enumerate() {
        if safe(c) && !(at == 0 && c == '.') {
            text.push(c);
        } else {
            text.extend(c.to_string().bytes().map(|byte| format!("%{byte:02x}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for (name, expected) in
            [("a.b", "a.b"), ("..", "%2e."), ("a/b", "a%2fb"), (".x", "%2ex"), ("\0", "%00"), ("ü", "ü")]
        {
            assert_eq!(file_name(name), expected);
        }
    }

    #[test]
    fn differences_are_marked() {
        let one = BTreeMap::from([("a", 1), ("b", 1), ("c", 1)]);
        let other = BTreeMap::from([("b", 1), ("c", 2), ("d", 1)]);
        assert_eq!(compare(&one, &other), [('+', &"a"), ('~', &"c"), ('-', &"d")]);
    }
}
