//! Environments of Python.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{apt, sh};

/// Makes an environment in `folder`, anew if there is one; its interpreter.
pub(crate) fn environment(folder: &Path) -> Result<PathBuf> {
    need()?;
    sh::run(sh::cmd("python3").args(["-m", "venv", "--clear"]).arg(folder))
        .with_context(|| format!("cannot make an environment of Python in {}", folder.display()))?;
    Ok(folder.join("bin/python"))
}

/// Makes sure that environments can be made: Debian's python3 alone has not all that it takes.
pub(crate) fn need() -> Result<()> {
    match sh::ask(sh::cmd("python3").args(["-c", "import ensurepip, venv"])) {
        Some(_) => Ok(()),
        None => apt::install(&["python3-venv"]),
    }
}
