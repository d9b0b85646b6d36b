//! .deb and .rpm, by dpkg-deb and rpmbuild: nothing between the tree and the distributions' own tools.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Arch;
use crate::{apt, repo, sh};

/// The version of the workspace.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A Debian package of `tree`.
pub(super) fn deb(arch: Arch, tree: &Path, to: &Path) -> Result<PathBuf> {
    let control = tree.join("DEBIAN");
    fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let mut about = format!(
        "Package: mcpsonar\n\
         Version: {VERSION}\n\
         Architecture: {}\n\
         Section: admin\n\
         Priority: optional\n\
         Maintainer: mcpsonar developers <maintainers@mcpsonar.invalid>\n\
         Homepage: https://github.com/mcpsonar/mcpsonar\n\
         Installed-Size: {}\n",
        arch.debian(),
        kibibytes(tree)?,
    );
    about.push_str(
        "Description: observe every Model Context Protocol call on this host\n \
         Watches the pipes and sockets of processes that speak MCP with eBPF, rebuilds\n \
         the JSON-RPC calls from the bytes, and says how long each took and why.\n",
    );
    fs::write(control.join("control"), about)?;
    fs::write(control.join("conffiles"), "/etc/mcpsonar/config.toml\n")?;
    for script in ["postinst", "prerm", "postrm"] {
        let target = control.join(script);
        fs::copy(repo::root().join("deploy/debian").join(script), &target)
            .with_context(|| format!("cannot copy deploy/debian/{script}"))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    }
    let package = to.join(format!("mcpsonar_{VERSION}_{}.deb", arch.debian()));
    sh::run(
        sh::cmd("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(tree)
            .arg(&package),
    )
    .context("dpkg-deb makes the .deb: it comes with Debian's package dpkg")?;
    fs::remove_dir_all(&control)?;
    Ok(package)
}

/// An RPM of `tree`.
pub(super) fn rpm(arch: Arch, tree: &Path, to: &Path) -> Result<PathBuf> {
    if sh::which("rpmbuild").is_none() {
        apt::install(&["rpm"]).context("rpmbuild makes the .rpm")?;
    }
    let top = repo::target().join("dist-tree/rpmbuild");
    let mut defines = String::new();
    let mut build = sh::cmd("rpmbuild");
    build.args(["-bb", "--quiet", "--target", arch.name()]);
    for (name, value) in [
        ("_topdir", top.display().to_string()),
        ("tree", tree.display().to_string()),
        ("version", VERSION.to_owned()),
    ] {
        writeln!(defines, "{name} {value}")?;
        build.arg("--define").arg(format!("{name} {value}"));
    }
    sh::run(build.arg(repo::root().join("deploy/rpm/mcpsonar.spec"))).context("rpmbuild does not make the .rpm")?;
    let name = format!("mcpsonar-{VERSION}-1.{}.rpm", arch.name());
    let made = top.join("RPMS").join(arch.name()).join(&name);
    let package = to.join(name);
    fs::copy(&made, &package).with_context(|| format!("rpmbuild left no {}", made.display()))?;
    Ok(package)
}

/// What the files take, in KiB, each rounded up.
fn kibibytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            kibibytes(&entry.path())?
        } else {
            entry.metadata()?.len().div_ceil(1024)
        };
    }
    Ok(sum)
}
