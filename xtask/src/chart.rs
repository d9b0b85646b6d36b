//! `cargo xtask chart`: the Helm chart, checked by Helm's own library, and the manifests made from it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{python, repo, sh};

/// Helm 4's library for Python: there is no Debian package of Helm.
const HELM: &str = "helm-python-sdk==0.2.2";
/// The schemas of Kubernetes 1.22 to 1.37.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";

/// Checks the Helm chart against Kubernetes' schemas and writes the manifests made from it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when the manifests are not what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let mut python = sh::cmd(python()?);
    python
        .current_dir(repo::root())
        .args(["xtask/assets/chart.py", "deploy/helm/mcpsonar", "deploy/helm/values"])
        .arg("deploy/kubernetes/mcpsonar.yaml");
    if args.check {
        python.arg("--check");
    }
    sh::run(&mut python).context("the Helm chart in deploy/helm is not right")
}

/// Whether the chart is right and the manifests are made from it.
pub(crate) fn check() -> Result<()> {
    main(&Args { check: true })
}

/// A Python with Helm's library, in an environment of its own that is kept.
fn python() -> Result<PathBuf> {
    let folder = repo::cache().join("chart");
    let there = folder.join("bin/python");
    if sh::ask(sh::cmd(&there).args(["-c", "import helm_python, kubernetes_validate"])).is_some() {
        return Ok(there);
    }
    let python = python::environment(&folder)?;
    sh::say(format!("installing {HELM} and {SCHEMAS} into {}", folder.display()));
    sh::run(sh::cmd(&python).args(["-m", "pip", "install", "--quiet", HELM, SCHEMAS]))
        .context("the chart is checked with Helm's library for Python; pip says above why it is not to be had")?;
    Ok(python)
}
