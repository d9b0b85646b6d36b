//! The bill of materials (CycloneDX 1.5): what is inside the binary, from cargo's own account.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Arch, packages::VERSION};
use crate::{repo, sh};

/// What the binary is made of: the agent, and the programs that are embedded in it.
const ROOTS: [&str; 2] = ["mcpsonar", "agent-ebpf"];

/// Writes mcpsonar-VERSION.cdx.json.
pub(super) fn write(arch: Arch, to: &Path) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &arch.target(),
    ]);
    let metadata: Value = serde_json::from_str(&sh::read(&mut cargo)?).context("cargo metadata is not JSON")?;
    let lock = fs::read_to_string(repo::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let bill = bill(&metadata, &checksums(&lock));
    let path = to.join(format!("mcpsonar-{VERSION}.cdx.json"));
    fs::write(&path, format!("{bill:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn bill(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let packages = list(&metadata["packages"]);
    let by_id: BTreeMap<&str, &Value> = packages.iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let nodes: BTreeMap<&str, &Value> = nodes.iter().map(|node| (text(&node["id"]), node)).collect();
    let mut todo: Vec<&str> = packages
        .iter()
        .filter(|package| ROOTS.contains(&text(&package["name"])))
        .map(|package| text(&package["id"]))
        .collect();
    let mut inside = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if inside.insert(id) {
            todo.extend(nodes.get(id).into_iter().flat_map(|node| linked(node)));
        }
    }
    let components: Vec<_> = inside
        .iter()
        .filter_map(|id| by_id.get(id))
        .filter(|package| text(&package["name"]) != ROOTS[0])
        .map(|package| component(package, checksums))
        .collect();
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": "mcpsonar", "name": "mcpsonar", "version": VERSION,
            "licenses": [{"expression": "(MIT OR Apache-2.0) AND GPL-2.0-only"}],
        }},
        "components": components,
    })
}

/// What `node` links: neither its tests nor its build need be inside.
fn linked(node: &Value) -> impl Iterator<Item = &str> {
    list(&node["deps"])
        .iter()
        .filter(|dependency| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()))
        .map(|dependency| text(&dependency["pkg"]))
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (text(&package["name"]), text(&package["version"]));
    let link = format!("pkg:cargo/{name}@{version}");
    let mut component = json!({
        "type": "library", "bom-ref": link, "name": name, "version": version, "purl": link, "scope": "required",
    });
    if let Some(licence) = package["license"].as_str() {
        // "MIT/Apache-2.0" is how it was written before SPDX expressions.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(sum) = checksums.get(&(name.to_owned(), version.to_owned())) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// Checksums of the packages in Cargo.lock, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |block: &str, key: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            Some((
                (field(block, "name")?, field(block, "version")?),
                field(block, "checksum")?,
            ))
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("mcpsonar"), package("a"), package("b"), package("tests"), package("cc")],
            "resolve": {"nodes": [
                {"id": "mcpsonar", "deps": [needs("a", Value::Null), needs("tests", json!("dev")), needs("cc", json!("build"))]},
                {"id": "a", "deps": [needs("b", Value::Null)]},
                {"id": "b", "deps": []},
            ]},
        });
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"ff00\"\n";
        let bill = bill(&metadata, &checksums(lock));
        let names: Vec<_> = list(&bill["components"]).iter().map(|c| text(&c["name"])).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(bill["components"][1]["hashes"][0]["content"], "ff00");
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
