//! The operator's Lua C modules (`--plugin DIR`): which shared objects are modules, and which scripts ask
//! for them.
//!
//! Takes a folder, gives names and paths. A shared object is read as a file of unknown content, never loaded:
//! that is for jailed workers only.

use std::io::Read;
use std::path::{Path, PathBuf};

use msgscript_proto::message::{PathAccess, PathRule, Plugin};
use object::elf;
use object::read::elf::{FileHeader, Sym};

use crate::catalog::Part;

/// The largest shared object that is looked at, in bytes.
const LARGEST: u64 = 64 << 20;

/// Modules that may be offered.
const MOST: usize = 128;

/// The longest name of a module, in bytes.
const LONGEST_NAME: usize = 64;

/// Where the system keeps its libraries, as far as they are there.
const LIBRARIES: &[&str] =
    &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];

/// How functions that open modules are called.
const PREFIX: &[u8] = b"luaopen_";

/// Why there are no plugins.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The folder cannot be read.
    #[error("cannot read the plugin folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More than may be.
    #[error("the plugin folder {} offers more than {MOST} modules", .0.display())]
    TooMany(PathBuf),
    /// A program that is linked statically can load nothing.
    #[error(
        "this build is linked statically and cannot load plugins; leave out --plugin, or use the usual build"
    )]
    Static,
}

/// The modules in a folder, by name; warns of each `.so` that is none.
///
/// # Errors
/// When the folder cannot be read, or this build can load nothing.
pub fn scan(folder: &Path) -> Result<Vec<Plugin>, PluginError> {
    if cfg!(target_feature = "crt-static") {
        return Err(PluginError::Static);
    }
    let failed = |source| PluginError::Folder { path: folder.to_owned(), source };
    let folder = folder.canonicalize().map_err(failed)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut plugins: Vec<Plugin> = Vec::new();
    for path in paths {
        let names = match read(&path).map(|bytes| modules(&bytes)) {
            Ok(Some(names)) if !names.is_empty() => names,
            Ok(Some(_)) => {
                tracing::warn!(path = %path.display(), "plugin skipped: no Lua C module, it has no luaopen_… function");
                continue;
            }
            Ok(None) => {
                tracing::warn!(path = %path.display(), "plugin skipped: no shared object for this machine");
                continue;
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "plugin skipped: it cannot be read");
                continue;
            }
        };
        let Some(text) = path.to_str() else {
            tracing::warn!(path = %path.display(), "plugin skipped: its path is no UTF-8");
            continue;
        };
        for name in names {
            if plugins.iter().all(|known| known.name != name) {
                plugins.push(Plugin { name, path: text.to_owned() });
            }
        }
    }
    if plugins.len() > MOST { Err(PluginError::TooMany(folder)) } else { Ok(plugins) }
}

/// What loading them takes of the file system: their folder, and where the system's libraries are.
#[must_use]
pub fn paths(plugins: &[Plugin]) -> Vec<PathRule> {
    let mut folders: Vec<&Path> =
        plugins.iter().filter_map(|plugin| Path::new(&plugin.path).parent()).collect();
    folders.dedup();
    let system = LIBRARIES.iter().map(Path::new).filter(|path| path.exists());
    let paths = folders.into_iter().chain(system).filter_map(Path::to_str);
    paths.map(|path| PathRule { path: path.to_owned(), access: PathAccess::Run }).collect()
}

/// A plain file's bytes, if it is not too large.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let status = std::fs::metadata(path)?;
    if !status.is_file() || status.len() > LARGEST {
        return Err(std::io::Error::other("no plain file, or larger than 64 MiB"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The modules that a shared object opens, by its dynamic symbols; `None` if it is no shared object for this
/// machine.
#[must_use]
pub fn modules(bytes: &[u8]) -> Option<Vec<String>> {
    let header = elf::FileHeader64::<object::LittleEndian>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let machine = match std::env::consts::ARCH {
        "aarch64" => elf::EM_AARCH64,
        _ => elf::EM_X86_64,
    };
    if header.e_type(endian) != elf::ET_DYN || header.e_machine(endian) != machine {
        return None;
    }
    let sections = header.sections(endian, bytes).ok()?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).ok()?;
    let mut names = Vec::new();
    for symbol in symbols.iter() {
        let Ok(name) = symbol.name(endian, symbols.strings()) else { continue };
        if symbol.st_type() != elf::STT_FUNC || symbol.is_undefined(endian) || names.len() > MOST {
            continue;
        }
        let Some(name) = name.strip_prefix(PREFIX).filter(|name| is_name(name)) else { continue };
        names.extend(String::from_utf8(name.to_vec()));
    }
    names.sort();
    names.dedup();
    Some(names)
}

fn is_name(name: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether a script asks for one of these modules by name: `require` and the name in quotes or brackets. One
/// that builds the name as it runs is found out then.
#[must_use]
pub fn mentioned(parts: &[Part], plugins: &[Plugin]) -> bool {
    parts.iter().any(|part| {
        memchr::memmem::find_iter(&part.text, b"require").any(|at| {
            let name = literal(&part.text[at + b"require".len()..]);
            name.is_some_and(|name| plugins.iter().any(|plugin| is_called(&plugin.name, name)))
        })
    })
}

/// The string that a call begins with.
fn literal(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"(").unwrap_or(text).trim_ascii_start();
    let (end, text): (&[u8], _) = match text.first()? {
        quote @ (b'"' | b'\'') => (std::slice::from_ref(quote), &text[1..]),
        _ => (b"]", text.strip_prefix(b"[[")?),
    };
    let longest = &text[..text.len().min(LONGEST_NAME + 1)];
    memchr::memmem::find(longest, end).map(|length| &longest[..length])
}

/// Whether a script that asks for `name` means this module: in C, dots are underscores.
fn is_called(known: &str, name: &[u8]) -> bool {
    known.len() == name.len()
        && known.bytes().zip(name).all(|(known, byte)| known == *byte || known == b'_' && *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mentions(text: &str) -> bool {
        let plugins = ["cjson", "cjson_safe"].map(|name| Plugin { name: name.into(), path: String::new() });
        mentioned(&[Part { name: "a.lua".into(), text: text.as_bytes().to_vec().into() }], &plugins)
    }

    #[test]
    fn scripts_that_name_a_module_are_seen() {
        for text in [
            "local c = require('cjson')",
            "require \"cjson.safe\"",
            "require[[cjson]]",
            "require (\n 'cjson')",
            "x = require('json') y=require(\"cjson\")",
        ] {
            assert!(mentions(text), "{text}");
        }
        for text in
            ["require('json')", "'cjson'", "require(name)", "require('cjsonx')", "require", "require('", ""]
        {
            assert!(!mentions(text), "{text}");
        }
    }

    #[test]
    fn our_own_program_opens_no_module() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(modules(&own), Some(Vec::new()));
        assert_eq!(modules(b"\x7fELF"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = modules(&bytes);
        }

        #[test]
        fn a_damaged_object_is_survived(at in prop::collection::vec((0..4096_usize, any::<u8>()), 1..20), cut in 0..200_000_usize) {
            let mut bytes = std::fs::read("/lib/ld-linux.so.2").or_else(|_| std::fs::read(std::env::current_exe().unwrap())).unwrap();
            bytes.truncate(bytes.len().min(400_000));
            for (at, byte) in at {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            let _ = modules(&bytes);
        }
    }
}
