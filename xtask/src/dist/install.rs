//! The .deb, installed, installed again, removed and purged in a root of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{apt, repo, sh};

/// A line of the administrator's that must outlive an upgrade.
const EDIT: &str = "# edited\n";
const CONFIG: &str = "etc/mcpsonar/config.toml";

/// Installs `package` with its scripts, which run in the new root, where there is no systemd: the branch
/// for images that are being built.
pub(super) fn try_out(package: &Path) -> Result<()> {
    let root = fresh_root()?;
    let dpkg = |what: &[&str]| {
        let mut dpkg = sh::cmd("dpkg");
        dpkg.arg(format!("--root={}", root.display())).args(what);
        sh::read(&mut dpkg)
    };
    let package = package.display().to_string();
    dpkg(&["--install", &package]).context("the .deb does not install")?;
    for (file, mode) in [
        ("usr/bin/mcpsonar", 0o755),
        (CONFIG, 0o644),
        ("usr/lib/systemd/system/mcpsonar.service", 0o644),
        ("usr/lib/sysusers.d/mcpsonar.conf", 0o644),
        ("usr/lib/tmpfiles.d/mcpsonar.conf", 0o644),
        ("usr/share/man/man1/mcpsonar-agent.1.gz", 0o644),
        ("usr/share/bash-completion/completions/mcpsonar", 0o644),
        ("usr/share/mcpsonar/dashboards/mcp-overview.json", 0o644),
        ("usr/share/doc/mcpsonar/copyright", 0o644),
    ] {
        let about = root
            .join(file)
            .metadata()
            .with_context(|| format!("the .deb does not install {file}"))?;
        let is = about.permissions().mode() & 0o7777;
        ensure!(is == mode, "{file} has mode {is:o} and not {mode:o}");
    }
    let mut config = fs::read_to_string(root.join(CONFIG))?;
    config.push_str(EDIT);
    fs::write(root.join(CONFIG), &config)?;
    dpkg(&["--install", &package]).context("the .deb does not upgrade")?;
    ensure!(
        fs::read_to_string(root.join(CONFIG))? == config,
        "an upgrade overwrites /{CONFIG}"
    );
    dpkg(&["--remove", "mcpsonar"])?;
    ensure!(
        !root.join("usr/bin/mcpsonar").exists(),
        "the binary is there after removal"
    );
    ensure!(root.join(CONFIG).exists(), "removal takes the configuration along");
    fs::create_dir_all(root.join("var/lib/mcpsonar"))?;
    dpkg(&["--purge", "mcpsonar"])?;
    for gone in ["etc/mcpsonar", "usr/share/mcpsonar", "var/lib/mcpsonar"] {
        ensure!(!root.join(gone).exists(), "/{gone} is there after a purge");
    }
    fs::remove_dir_all(&root)?;
    sh::say("the .deb installs, upgrades, removes and purges");
    Ok(())
}

/// A root with dpkg's records and a shell.
fn fresh_root() -> Result<PathBuf> {
    let root = repo::target().join("dist-tree/root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot clear {}", root.display()))?;
    }
    for folder in [
        "bin",
        "usr",
        "etc",
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
    ] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("cannot make {}", root.display()))?;
    }
    for file in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(file), "")?;
    }
    if sh::which("busybox").is_none() {
        apt::install(&["busybox-static"])?;
    }
    let busybox = sh::which("busybox").context("busybox-static was installed and is not on PATH")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for program in ["sh", "rm"] {
        symlink("busybox", root.join("bin").join(program))?;
    }
    Ok(root)
}
