//! Embeds the eBPF object that `cargo xtask build` leaves in the target folder, if it is there.
//! Without it everything but the sensor works: host-only checks need no BPF tool chain.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // OUT_DIR is <target>/<profile>/build/<package>/out, with the triple before the profile when
    // one is given: the object's folder is beside one of these.
    let object = out
        .ancestors()
        .map(|folder| folder.join("bpf/mcpsonar.bpf.o"))
        .find(|path| path.is_file());
    let embedded = out.join("mcpsonar.bpf.o");
    match &object {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::copy(path, &embedded)?;
        }
        None => {
            // A path that does not exist makes cargo ask again every time.
            let expected = out.ancestors().nth(4).unwrap_or(Path::new("target"));
            println!(
                "cargo::rerun-if-changed={}",
                expected.join("bpf/mcpsonar.bpf.o").display()
            );
            fs::write(&embedded, [])?;
        }
    }
    Ok(())
}
