//! Landlock: no file, no TCP, no signal or abstract socket outside, as far as the kernel's version of the
//! interface knows these rights. Every right is handled, and none is given back but on the paths that the
//! set-up names.
//!
//! Takes a version to stay below and those paths, gives the version in force.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use msgscript_proto::message::{PathAccess, PathRule};

/// The newest version that this program knows; its rights are those of the crate.
const NEWEST: u8 = 10;

/// Closes the layer; gives the version of the interface in force. Binds the calling thread only, so the
/// process must have no other ([`require_one_thread`]).
///
/// # Errors
/// When the kernel has no Landlock, or does less than its version promises, or a path does not open.
pub(super) fn close(at_most: Option<u8>, paths: &[PathRule]) -> io::Result<u8> {
    let newest = at_most.unwrap_or(NEWEST).min(NEWEST);
    // Every right is a hard requirement, so a version that the kernel lacks rights of is refused, and
    // the next one down is tried. What a best effort would leave out could not be seen.
    let (version, ruleset) = (1..=newest)
        .rev()
        .find_map(|version| Some((version, ruleset(ABI::from(i32::from(version))).ok()?)))
        .ok_or_else(|| io::Error::other("the kernel does not offer Landlock (5.13, and `lsm=` naming it)"))?;
    let mut created = ruleset.create().map_err(io::Error::other)?;
    for rule in paths {
        created = open_up(created, rule, ABI::from(i32::from(version)))?;
    }
    let status = created.restrict_self().map_err(io::Error::other)?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Err(io::Error::other(format!("Landlock is {:?}", status.landlock)));
    };
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(io::Error::other(format!("Landlock is only {:?}", status.ruleset)));
    }
    // Versions without rights of their own pass on older kernels too.
    let kernel = u8::try_from(effective_abi as i32).unwrap_or(NEWEST);
    Ok(version.min(kernel))
}

/// Leaves one path within reach.
fn open_up(created: RulesetCreated, rule: &PathRule, abi: ABI) -> io::Result<RulesetCreated> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", rule.path));
    let path = PathFd::new(&rule.path).map_err(|error| failed(&error))?;
    let mut rights = rights(rule.access) & AccessFs::from_all(abi);
    if !std::fs::metadata(&rule.path).map_err(|error| failed(&error))?.is_dir() {
        rights &= AccessFs::from_file(abi);
    }
    created.add_rule(PathBeneath::new(path, rights)).map_err(|error| failed(&error))
}

fn rights(access: PathAccess) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let make = AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::Refer;
    let change = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::RemoveFile | AccessFs::RemoveDir;
    match access {
        PathAccess::Read => read,
        PathAccess::Run => read | AccessFs::Execute,
        PathAccess::Write => read | make | change,
    }
}

/// All rights of a version, as hard requirements. An empty set of rights is an error to the crate.
fn ruleset(abi: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}

/// Whether the calling thread is the only one: Landlock holds no other.
///
/// # Errors
/// When there is another.
pub(super) fn require_one_thread() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads == 1 {
        return Ok(());
    }
    Err(io::Error::other(format!("{threads} threads are running, Landlock would hold one of them")))
}

/// Whether files are out of reach.
///
/// # Errors
/// When the root folder opens, or fails to for another reason than the layer.
pub(super) fn check() -> io::Result<()> {
    match std::fs::File::open("/") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(io::Error::other(format!("opening / fails by another reason: {error}"))),
        Ok(_) => Err(io::Error::other("/ can still be opened")),
    }
}
