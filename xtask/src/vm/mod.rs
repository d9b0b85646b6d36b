//! `cargo xtask vm`: a command in a virtual machine with a chosen kernel.
//!
//! The guest is an initramfs (busybox, the given files, their libraries); its output and exit status
//! come back over serial lines. It is emulated unless `--kvm` is given, so it boots anywhere.

mod cpio;
mod kernels;
mod matrix;
mod package;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{repo, setup, sh};

pub(crate) use matrix::{DEFAULT as DEFAULT_KERNELS, TestArgs, test, test_main};
pub(crate) use package::{Args as PackageArgs, main as package_main, test as test_package};

/// What the guest runs first.
const INIT: &str = include_str!("../../assets/guest-init.sh");
/// How often a guest's output is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Runs a command in a virtual machine with a chosen kernel
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A version (5.10, 6.1, 6.12, 6.18, 7.2) or a vmlinuz file; may be repeated
    #[arg(long = "kernel", default_value = "6.1")]
    kernels: Vec<String>,
    /// A file or folder to give to the guest: HOSTPATH or HOSTPATH:GUESTPATH; may be repeated
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<String>,
    /// Memory, in MiB
    #[arg(long, default_value_t = 768)]
    memory: u32,
    /// Ends the guest after so many seconds
    #[arg(long, default_value_t = 180)]
    timeout: u64,
    /// Uses the processor's virtualisation in place of emulation
    #[arg(long)]
    kvm: bool,
    /// Keeps the guest's initramfs, console and output, and says where
    #[arg(long)]
    keep: bool,
    /// The command, for busybox's sh
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A virtual machine to run once.
#[derive(Debug)]
pub(crate) struct Guest {
    /// A version or a file.
    pub(crate) kernel: String,
    /// Files of this machine, and where the guest has them.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// A script for busybox's sh.
    pub(crate) script: String,
    pub(crate) memory: u32,
    pub(crate) limit: Duration,
    pub(crate) kvm: bool,
    pub(crate) keep: bool,
    /// Whether the guest's output is shown as it comes.
    pub(crate) show: bool,
    /// A root in place of busybox; nothing runs the script then.
    pub(crate) root: Option<Root>,
}

/// A whole distribution for a guest.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its files.
    pub(crate) folder: PathBuf,
    /// A script that is the first process.
    pub(crate) init: &'static str,
    /// Added to the kernel's command line.
    pub(crate) append: &'static str,
}

/// What a guest left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The script's exit status; none when the guest ended or was ended before the script did.
    pub(crate) status: Option<i32>,
    /// What the script printed.
    pub(crate) output: String,
    /// The last lines of the kernel's console and of qemu.
    pub(crate) console: String,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::for_vm()?;
    let files = args.files.iter().map(|given| {
        let (from, to) = given.split_once(':').unwrap_or((given, given));
        let to = Path::new("/").join(to);
        (PathBuf::from(from), to)
    });
    let files: Vec<_> = files.collect();
    for kernel in &args.kernels {
        let guest = Guest {
            kernel: kernel.clone(),
            files: files.clone(),
            script: args.command.join(" "),
            memory: args.memory,
            limit: Duration::from_secs(args.timeout),
            kvm: args.kvm,
            keep: args.keep,
            show: true,
            root: None,
        };
        match guest.run()? {
            Outcome { status: Some(0), .. } => {}
            Outcome {
                status: Some(status), ..
            } => bail!("the command ended with status {status} on kernel {kernel}"),
            Outcome {
                status: None, console, ..
            } => bail!(
                "the guest with kernel {kernel} reported no status within {} s; the end of its console:\n{console}",
                args.timeout
            ),
        }
    }
    Ok(())
}

impl Guest {
    /// Boots the guest, waits for its end and gives what it left.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let kernel = kernels::get(&self.kernel)?;
        let folder = Folder::new(self.keep)?;
        let at = |name: &str| folder.path.join(name);
        fs::write(at("initrd"), self.initramfs()?).context("cannot write the guest's initramfs")?;
        let how = if self.kvm { "KVM" } else { "emulated" };
        let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sh::say(format!("booting {name} ({how}, {} MiB)", self.memory));
        self.boot(&kernel, &at)?;
        let read = |name: &str| String::from_utf8_lossy(&fs::read(at(name)).unwrap_or_default()).into_owned();
        Ok(Outcome {
            status: read("status").trim().parse().ok(),
            output: read("output"),
            console: tail(&read("console"), 30) + &read("qemu"),
        })
    }

    fn initramfs(&self) -> Result<Vec<u8>> {
        let mut archive = cpio::Archive::default();
        if let Some(root) = &self.root {
            archive.tree(&root.folder)?;
            for (from, to) in &self.files {
                archive.give(from, to)?;
            }
            archive.file(Path::new("/init"), 0o755, root.init.as_bytes());
            return Ok(archive.finish());
        }
        for folder in [
            "proc", "sys", "dev", "tmp", "run", "etc", "root", "sbin", "usr/bin", "usr/sbin", "lib64",
        ] {
            archive.dir(&Path::new("/").join(folder));
        }
        let busybox = sh::which("busybox").context("busybox is missing: run `cargo xtask setup --test`")?;
        archive.copy(&busybox, Path::new("/bin/busybox"))?;
        archive.link(Path::new("/bin/sh"), "busybox");
        archive.file(Path::new("/init"), 0o755, INIT.as_bytes());
        archive.file(Path::new("/script"), 0o644, self.script.as_bytes());
        for (from, to) in &self.files {
            archive.copy(from, to)?;
        }
        Ok(archive.finish())
    }

    fn boot(&self, kernel: &Path, at: &dyn Fn(&str) -> PathBuf) -> Result<()> {
        // Emulated processors in threads of their own run code while another patches it: kernels that switch a tracepoint
        // on in the scheduler then lose interrupts or jump into the middle of an instruction.
        let (accelerator, processor) = if self.kvm {
            ("kvm", "host")
        } else {
            ("tcg,thread=single", "max")
        };
        // The guest ends with this program, however that ends.
        let mut qemu = sh::cmd("setpriv");
        qemu.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-accel",
            accelerator,
            "-cpu",
            processor,
        ])
        .args(["-machine", "q35", "-smp", "2", "-m", &self.memory.to_string()])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(at("initrd"))
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet loglevel=4 panic=-1 8250.nr_uarts=4 rdinit=/init mitigations=off psi=1 no_timer_check {}",
            self.root.as_ref().map_or("", |root| root.append)
        ));
        for line in ["console", "output", "status"] {
            qemu.arg("-serial").arg(format!("file:{}", at(line).display()));
        }
        let words = fs::File::create(at("qemu")).context("cannot write qemu's own words")?;
        let mut child = qemu.stderr(words).spawn().context("cannot start qemu-system-x86_64")?;
        let end = Instant::now() + self.limit;
        let mut shown = 0;
        loop {
            let ended = child.try_wait()?.is_some();
            if self.show {
                shown = follow(&at("output"), shown)?;
            }
            if ended {
                return Ok(());
            }
            if Instant::now() >= end {
                child.kill()?;
                child.wait()?;
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Prints what a growing file has beyond `shown` bytes, and gives how much that makes.
fn follow(path: &Path, shown: u64) -> Result<u64> {
    let Ok(mut file) = fs::File::open(path) else {
        return Ok(shown);
    };
    let mut new = Vec::new();
    file.seek(SeekFrom::Start(shown))?;
    file.read_to_end(&mut new)?;
    std::io::stdout().write_all(&new)?;
    Ok(shown + new.len() as u64)
}

/// The last `count` lines.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A guest's files on this machine, gone with it unless they are to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> Result<Self> {
        let all = repo::target().join("vm");
        // What an interrupted run left behind.
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_ok() && !Path::new("/proc").join(&name).exists() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let path = all.join(std::process::id().to_string());
        let path = if keep { path.with_extension("kept") } else { path };
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            sh::say(format!("the guest's files are in {}", self.path.display()));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("    cannot remove {}: {error}", self.path.display());
        }
    }
}
