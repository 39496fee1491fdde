//! Which containers a script may run. Pure: where links lead is handed in.

use std::io;
use std::path::{Path, PathBuf};

use super::grants::Images;
use super::{Denied, Permitted, Policy};
use crate::podman::description::{Description, Image};
use crate::podman::mount::From;

impl Policy {
    /// Whether this container may run. Sources of mounts become the paths that they really are: `real`
    /// resolves a path of the host, its links included. `digests` are those of the image, as far as known.
    ///
    /// # Errors
    /// The refusal, which names the missing grant.
    pub fn container(
        &self,
        mut wanted: Description,
        digests: &[String],
        real: impl Fn(&Path) -> io::Result<PathBuf>,
    ) -> Result<Permitted<Description>, Denied> {
        let grants = &self.grants.containers;
        if !names(&grants.images, &wanted.image) && !pins(&grants.images, digests) {
            return Err(self.no_image("run", &wanted.image));
        }
        if wanted.privileged && !grants.privileged {
            return Err(self.denied(&wanted.image, "run privileged containers", "podman-privileged"));
        }
        let root = wanted.user.iter().chain(&wanted.groups).find(|account| account.is_root());
        if let (Some(root), false) = (root, grants.privileged) {
            let what = format!("run containers as `{}`", root.as_str());
            return Err(self.denied(&wanted.image, &what, "podman-privileged"));
        }
        for mount in &mut wanted.mounts {
            match &mut mount.from {
                From::Memory => {}
                From::Other(what) => {
                    let what = format!("mount {what}");
                    return Err(self.denied(
                        &wanted.image,
                        &what,
                        "none gives it: only host paths and tmpfs",
                    ));
                }
                From::Host(source) => *source = self.mount(&wanted.image, source, &real)?,
            }
        }
        Ok(Permitted(wanted))
    }

    /// Where a granted source of a mount really is.
    fn mount(
        &self,
        image: &Image,
        source: &Path,
        real: &impl Fn(&Path) -> io::Result<PathBuf>,
    ) -> Result<PathBuf, Denied> {
        let what = format!("mount {}", source.display());
        let grant = format!("podman-mount:{}", source.display());
        let prefixes = || self.grants.containers.mounts.iter().map(|prefix| prefix.as_path());
        // Asked first, so that who has no grant learns nothing of the host.
        if !prefixes().any(|prefix| source.starts_with(prefix)) {
            return Err(self.denied(image, &what, &grant));
        }
        let path = real(source).map_err(|error| Denied(format!("{image}: cannot {what}: {error}")))?;
        if prefixes().filter_map(|prefix| real(prefix).ok()).any(|prefix| path.starts_with(prefix)) {
            Ok(path)
        } else {
            Err(self.denied(image, &format!("{what}, a link to elsewhere"), &grant))
        }
    }

    /// Whether this image may be pulled: a listed one.
    ///
    /// # Errors
    /// The refusal, which names the missing grant.
    pub fn pull(&self, image: Image) -> Result<Permitted<Image>, Denied> {
        match &self.grants.containers.images {
            Images::Listed(_) if names(&self.grants.containers.images, &image) => Ok(Permitted(image)),
            _ => Err(self.no_image("pull", &image)),
        }
    }

    /// Whether it matters what the image's digests are.
    #[must_use]
    pub fn looks_at_digests(&self) -> bool {
        match &self.grants.containers.images {
            Images::Local => false,
            Images::Listed(patterns) => patterns.iter().any(|pattern| pattern.starts_with(DIGEST)),
        }
    }

    fn no_image(&self, act: &str, image: &Image) -> Denied {
        match &self.grants.containers.images {
            Images::Local => {
                self.denied(image, &format!("{act} images: it runs local ones"), "podman pull it yourself")
            }
            Images::Listed(_) => self.denied(image, &format!("{act} it"), &format!("images = [\"{image}\"]")),
        }
    }

    /// A refusal. Every one names the image.
    fn denied(&self, image: &Image, what: &str, grant: &str) -> Denied {
        Denied(format!("{image}: {}", Denied::new(&self.tenant, what, grant)))
    }
}

/// What digests begin with.
const DIGEST: &str = "sha256:";

/// Whether an image is granted by the name it is asked for by: as written, without its tag or digest, or by
/// its digest alone.
fn names(images: &Images, image: &Image) -> bool {
    let Images::Listed(patterns) = images else { return true };
    let whole = image.as_str();
    let (name, digest) = match whole.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (whole, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let tag = name[slash..].find(':').map(|at| slash + at);
    let bare = tag.map_or(name, |at| &name[..at]);
    let spelled = [Some(whole), Some(bare), digest];
    patterns.iter().any(|pattern| spelled.iter().flatten().any(|text| wild(pattern, text)))
}

/// Whether an image is granted by a digest that it has.
fn pins(images: &Images, digests: &[String]) -> bool {
    let Images::Listed(patterns) = images else { return true };
    let pinned = patterns.iter().filter(|pattern| pattern.starts_with(DIGEST));
    pinned.clone().any(|pattern| digests.iter().any(|digest| wild(pattern, digest)))
}

/// Whether a text matches a pattern in which `*` is any text. Takes time in proportion to both lengths.
fn wild(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
