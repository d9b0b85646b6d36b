//! The TLS libraries of the running processes, for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::hooks::TlsStatus;

/// Process ids that are told of one binary.
const MAX_PIDS: usize = 8;

/// One block for a binary and its reason, opaque ones last.
pub(super) fn render(statuses: &[TlsStatus], out: &mut String) -> fmt::Result {
    writeln!(out, "\nTLS of running processes")?;
    if statuses.is_empty() {
        return writeln!(out, "  none");
    }
    let mut binaries: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for status in statuses {
        let binary = (!status.visible, &status.binary, status.library.name(), &status.reason);
        binaries.entry(binary).or_default().push(status.pid);
    }
    for ((opaque, binary, library, reason), pids) in binaries {
        let state = if opaque { "opaque" } else { "seen  " };
        let told: Vec<String> = pids.iter().take(MAX_PIDS).map(u32::to_string).collect();
        let more = match pids.len().saturating_sub(MAX_PIDS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        writeln!(out, "  {state}  {binary}: {library}, in {}{more}", told.join(", "))?;
        if !reason.is_empty() {
            writeln!(out, "          {reason}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::TlsLibrary;

    #[test]
    fn processes_share_a_binary() {
        let status = |pid, binary: &str, visible| TlsStatus {
            pid,
            binary: binary.to_owned(),
            library: TlsLibrary::OpenSsl,
            visible,
            reason: if visible { String::new() } else { "stripped".to_owned() },
        };
        let mut statuses: Vec<_> = (1..=10).map(|pid| status(pid, "/z/libssl.so.3", true)).collect();
        statuses.push(status(70, "/a/bun", false));
        let mut text = String::new();
        render(&statuses, &mut text).unwrap();
        let seen = "  seen    /z/libssl.so.3: OpenSSL, in 1, 2, 3, 4, 5, 6, 7, 8 and 2 more\n";
        let opaque = "  opaque  /a/bun: OpenSSL, in 70\n          stripped\n";
        assert!(text.ends_with(&format!("{seen}{opaque}")), "{text}");
        text.clear();
        render(&[], &mut text).unwrap();
        assert!(text.ends_with("  none\n"));
    }
}
