//! Debian's cloud kernels to boot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::apt::Release;
use crate::{repo, sh};

/// The kernels that are supported, and the releases of Debian that carry them.
const KERNELS: [(&str, &[&str]); 5] = [
    ("5.10", &["bullseye", "bullseye-security"]),
    ("6.1", &["bookworm", "bookworm-security"]),
    ("6.12", &["trixie", "bookworm-security"]),
    ("6.18", &["trixie-backports"]),
    ("7.2", &["sid"]),
];

/// All supported kernels, oldest first.
pub(crate) fn all() -> Vec<String> {
    KERNELS.iter().map(|(version, _)| (*version).to_owned()).collect()
}

/// The kernel to boot for `wanted`: a file, or a version like `6.1`, fetched if it is not here yet.
pub(crate) fn get(wanted: &str) -> Result<PathBuf> {
    let file = Path::new(wanted);
    if file.is_file() {
        return Ok(file.to_owned());
    }
    if let Some(here) = newest(wanted) {
        return Ok(here);
    }
    fetch(wanted).with_context(|| {
        format!(
            "no kernel {wanted}: put one into {} as vmlinuz-{wanted}.NAME, or give a file's path",
            boot().display()
        )
    })?;
    newest(wanted).with_context(|| format!("kernel {wanted} was fetched and is not in {}", boot().display()))
}

fn folder() -> PathBuf {
    repo::cache().join("kernels")
}

fn boot() -> PathBuf {
    folder().join("boot")
}

/// The newest kernel of this version that is here.
fn newest(version: &str) -> Option<PathBuf> {
    fs::read_dir(boot())
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix("vmlinuz-")
                .is_some_and(|name| is_version(name, version))
        })
        .max_by_key(|path| numbers(&path.to_string_lossy()))
}

/// Whether `name` begins with `version` and does not go on with another digit of it.
fn is_version(name: &str, version: &str) -> bool {
    name.strip_prefix(version)
        .is_some_and(|rest| rest.starts_with(['.', '-', '+']))
}

/// What versions are ordered by.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

fn fetch(version: &str) -> Result<()> {
    let known = KERNELS.iter().find(|(known, _)| *known == version);
    let (_, suites) = known.with_context(|| format!("kernel {version} is none of {}", all().join(", ")))?;
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "virtual machines are set up for x86_64 only, and this machine is {}",
        std::env::consts::ARCH
    );
    sh::say(format!(
        "fetching a kernel {version} from Debian's {}",
        suites.join(" and ")
    ));
    let release = Release::open(folder().join("apt").join(version), suites)?;
    let package = find(&release, version)?;
    take(&release, &package)?;
    release.close()
}

/// The newest cloud image of this version that the archive lists, by its name: versioned ones are pruned.
/// From 7.x on the image is in linux-binary-*.
fn find(release: &Release, version: &str) -> Result<String> {
    let names = sh::read(release.command("apt-cache").arg("pkgnames"))?;
    let of = |kind: &str| {
        names
            .lines()
            .filter(|name| name.ends_with("cloud-amd64"))
            .filter(|name| name.strip_prefix(kind).is_some_and(|rest| is_version(rest, version)))
            .max_by_key(|name| numbers(name))
            .map(str::to_owned)
    };
    of("linux-binary-")
        .or_else(|| of("linux-image-"))
        .context("the archive lists no cloud image of it any more")
}

/// Takes the image out of a package into the folder of kernels.
fn take(release: &Release, package: &str) -> Result<()> {
    let unpacked = release.home().join("unpacked");
    release.unpack(package, &unpacked)?;
    let image = files(&unpacked)?
        .into_iter()
        .find(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz"))
        })
        .with_context(|| format!("{package} has no vmlinuz"))?;
    let name = package
        .trim_start_matches("linux-image-")
        .trim_start_matches("linux-binary-");
    fs::create_dir_all(boot())?;
    let (partial, whole) = (
        boot().join(format!(".partial-{name}")),
        boot().join(format!("vmlinuz-{name}")),
    );
    fs::copy(&image, &partial)?;
    fs::rename(&partial, &whole)?;
    sh::say(format!("got {}", whole.display()));
    Ok(())
}

/// All files under `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_not_the_beginning_of_a_longer_one() {
        assert!(is_version("6.1.0-56-cloud-amd64", "6.1"));
        assert!(!is_version("6.12.117+deb12-cloud-amd64", "6.1"));
        assert!(numbers("6.1.0-56") > numbers("6.1.0-9"));
    }
}
