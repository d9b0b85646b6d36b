//! `cargo xtask vm-package`: the .deb under systemd. A Debian root boots in a virtual machine, once as
//! it is and once without the kernel's types; the package is installed, killed, upgraded and removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Guest, Root};
use crate::{apt, build, dist, repo, setup, sh};

/// What the guest runs.
const SCRIPT: &str = include_str!("../../assets/guest-package.sh");
const INIT: &str = include_str!("../../assets/guest-systemd-init.sh");
/// Runs it when the guest is up.
const UNIT: &str = "[Unit]\nAfter=multi-user.target\n\n[Service]\nType=idle\nExecStart=/bin/sh /root/check.sh\n\n[Install]\nWantedBy=multi-user.target\n";
/// systemd and its journal are emulated, too.
const LIMIT: Duration = Duration::from_secs(900);
const MEMORY: u32 = 1536;
const SUITE: &str = "trixie";
const PACKAGES: &str = "systemd,systemd-sysv";
/// What nobody looks at in a guest.
const BULK: [&str; 6] = [
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/i18n",
    "var/cache",
    "var/lib/apt",
];

/// Installs, kills, upgrades and removes the .deb under systemd, in a virtual machine with a Debian root
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A version (5.10, 6.1, 6.12, 6.18, 7.2) or a vmlinuz file
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Takes the release build as it is
    #[arg(long)]
    no_build: bool,
    /// Keeps the guests' consoles and outputs, and says where
    #[arg(long)]
    keep: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    ensure!(
        sh::is_root(),
        "a Debian root is made with files of several users and so needs root: run `sudo -E cargo xtask vm-package`"
    );
    setup::for_vm()?;
    if !args.no_build {
        build::ebpf()?;
        build::agent(true)?;
        build::fixtures()?;
    }
    test(&args.kernel, args.keep)
}

/// The package on a kernel as it is, and on the same without types.
pub(crate) fn test(kernel: &str, keep: bool) -> Result<()> {
    let root = debian()?;
    let folder = repo::target().join("vm").join("package");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in [("check.sh", SCRIPT), ("init", INIT), ("mcpsonar-check.service", UNIT)] {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let deb = dist::deb_of_release()?;
    let files: Vec<(PathBuf, PathBuf)> = [
        (folder.join("check.sh"), "/root/check.sh"),
        (
            folder.join("mcpsonar-check.service"),
            "/etc/systemd/system/mcpsonar-check.service",
        ),
        (deb, "/root/mcpsonar.deb"),
        (repo::release("mcp-fixture"), "/usr/bin/mcp-fixture"),
    ]
    .into_iter()
    .map(|(from, to)| (from, PathBuf::from(to)))
    .collect();
    for (append, with) in [("", "with types (BTF)"), ("mcpsonar.nobtf", "without types (BTF)")] {
        let guest = Guest {
            kernel: kernel.to_owned(),
            files: files.clone(),
            script: String::new(),
            memory: MEMORY,
            limit: LIMIT,
            kvm: false,
            keep,
            show: true,
            root: Some(Root {
                folder: root.clone(),
                init: INIT,
                append,
            }),
        };
        let outcome = guest.run()?;
        match outcome.status {
            Some(0) => sh::say(format!("the package works on kernel {kernel} {with}")),
            Some(_) => bail!("the package fails on kernel {kernel} {with}: see the lines with FAILED above"),
            None => bail!(
                "the guest reported no status within {} s; the end of its console:\n{}",
                LIMIT.as_secs(),
                outcome.console
            ),
        }
    }
    Ok(())
}

/// A Debian root with systemd, made once.
fn debian() -> Result<PathBuf> {
    let root = repo::cache().join("debian-root").join(SUITE);
    if root.join("lib/systemd/systemd").exists() {
        return Ok(root);
    }
    if sh::which("mmdebstrap").is_none() {
        apt::install(&["mmdebstrap"])?;
    }
    let parent = root.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let unfinished = root.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    sh::say(format!("making a Debian root ({SUITE}) in {}", root.display()));
    sh::run(
        sh::cmd("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(&unfinished),
    )?;
    for bulk in BULK {
        let folder = unfinished.join(bulk);
        if folder.is_dir() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
    }
    fs::rename(&unfinished, &root).context("cannot put the Debian root in its place")?;
    Ok(root)
}
