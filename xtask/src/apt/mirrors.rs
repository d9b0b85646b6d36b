//! The package mirrors that this machine's apt is configured with.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The mirror of Debian's releases, and that of their security updates.
pub(crate) fn of_this_machine() -> Result<(String, String)> {
    let mut sources = Vec::new();
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    for path in parts.chain([PathBuf::from("/etc/apt/sources.list")]) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().unwrap_or_default().to_string_lossy().as_ref() {
            "sources" => sources.extend(stanzas(&text)),
            "list" => sources.extend(lines(&text)),
            _ => {}
        }
    }
    choose(&sources).context(
        "/etc/apt names no Debian mirror (a source whose suite is a release like bookworm): \
         virtual machines boot Debian's kernels",
    )
}

/// (address, suite) of each source in the deb822 format.
fn stanzas(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if field("enabled").is_some_and(|v| v.eq_ignore_ascii_case("no")) {
            continue;
        }
        if let (Some(addresses), Some(suites)) = (field("uris"), field("suites"))
            && let Some(address) = addresses.split_whitespace().next()
        {
            found.extend(
                suites
                    .split_whitespace()
                    .map(|suite| (address.to_owned(), suite.to_owned())),
            );
        }
    }
    found
}

/// (address, suite) of each source in the one-line format.
fn lines(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim();
            let rest = if rest.starts_with('[') {
                rest.split_once(']')?.1
            } else {
                rest
            };
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

fn choose(sources: &[(String, String)]) -> Result<(String, String)> {
    const RELEASES: [&str; 7] = ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing"];
    let of = |security: bool| {
        sources.iter().find_map(|(address, suite)| {
            let release = suite.trim_end_matches("-security");
            (RELEASES.contains(&release) && suite.ends_with("-security") == security).then(|| address.clone())
        })
    };
    let Some(main) = of(false) else {
        bail!("no source of a Debian release")
    };
    let security = of(true).unwrap_or_else(|| format!("{}-security", main.trim_end_matches('/')));
    Ok((main, security))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_both_formats() {
        let deb822 = "Types: deb\nURIs: mirror://a/debian\nSuites: bookworm bookworm-updates\n\n\
                      Types: deb\nURIs: mirror://a/security\nSuites: bookworm-security\n";
        let expected = ("mirror://a/debian".to_owned(), "mirror://a/security".to_owned());
        assert_eq!(choose(&stanzas(deb822)).ok(), Some(expected));
        let list = "# comment\ndeb [signed-by=/k] mirror://b/debian trixie main\n";
        let expected = ("mirror://b/debian".to_owned(), "mirror://b/debian-security".to_owned());
        assert_eq!(choose(&lines(list)).ok(), Some(expected));
    }
}
