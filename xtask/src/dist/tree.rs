//! The files that a package installs, in a folder as they lie on the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::deploy::EXAMPLE;
use crate::{repo, sh};

/// Where distributions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    Red,
}

/// Lays the tree out anew. `pages` is a binary that runs here and prints its manual.
pub(super) fn stage(binary: &Path, pages: &Path, family: Family) -> Result<PathBuf> {
    let (name, zsh) = match family {
        Family::Debian => ("deb", "usr/share/zsh/vendor-completions/_mcpsonar"),
        Family::Red => ("rpm", "usr/share/zsh/site-functions/_mcpsonar"),
    };
    let tree = repo::target().join("dist-tree").join(name);
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot clear {}", tree.display()))?;
    }
    copy(binary, &tree.join("usr/bin/mcpsonar"), 0o755)?;
    for (from, to) in [
        (EXAMPLE, "etc/mcpsonar/config.toml"),
        (
            "deploy/systemd/mcpsonar.service",
            "usr/lib/systemd/system/mcpsonar.service",
        ),
        ("deploy/systemd/mcpsonar.sysusers", "usr/lib/sysusers.d/mcpsonar.conf"),
        ("deploy/systemd/mcpsonar.tmpfiles", "usr/lib/tmpfiles.d/mcpsonar.conf"),
        ("README.md", "usr/share/doc/mcpsonar/README.md"),
        ("CHANGELOG.md", "usr/share/doc/mcpsonar/changelog.md"),
        ("LICENSE-MIT", "usr/share/doc/mcpsonar/LICENSE-MIT"),
        ("LICENSE-APACHE", "usr/share/doc/mcpsonar/LICENSE-APACHE"),
        ("dashboards/alerts.yml", "usr/share/mcpsonar/alerts.yml"),
    ] {
        copy(&repo::root().join(from), &tree.join(to), 0o644)?;
    }
    for dashboard in crate::dashboards::files()? {
        let to = Path::new("usr/share/mcpsonar/dashboards").join(dashboard.file_name().unwrap_or_default());
        copy(&dashboard, &tree.join(to), 0o644)?;
    }
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/mcpsonar"),
        ("fish", "usr/share/fish/vendor_completions.d/mcpsonar.fish"),
        ("zsh", zsh),
    ] {
        let script = sh::read(sh::cmd(pages).args(["completions", shell]))?;
        write(&tree.join(to), script.as_bytes())?;
    }
    let manual = tree.join("usr/share/man/man1");
    sh::read(sh::cmd(pages).args(["man", "--dir"]).arg(&manual))?;
    for page in fs::read_dir(&manual)? {
        // Without name and time: the same manual makes the same package.
        sh::read(sh::cmd("gzip").args(["-9", "--no-name"]).arg(page?.path()))?;
    }
    if family == Family::Debian {
        let text = format!(
            "Source: {0}\n\nFiles: *\nLicense: MIT or Apache-2.0\n\nThe eBPF programs inside the binary are also under GPL-2.0.\n\n{1}",
            "https://github.com/mcpsonar/mcpsonar",
            fs::read_to_string(repo::root().join("LICENSE-MIT"))?
        );
        write(&tree.join("usr/share/doc/mcpsonar/copyright"), text.as_bytes())?;
    }
    open_folders(&tree)?;
    Ok(tree)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(|| format!("cannot change {}", to.display()))
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot change {}", to.display()))
}

/// Whatever the umask is.
fn open_folders(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            open_folders(&path)?;
        }
    }
    Ok(())
}
