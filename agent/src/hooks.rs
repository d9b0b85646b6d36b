//! The state of the hooks, as `doctor` shows it. Known to all; only `sensor` fills it.

use serde::Serialize;

/// One place in the kernel where the agent listens, or would like to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// What it is called: "fentry __x64_sys_read", "raw_tracepoint sys_exit".
    pub name: String,
    /// 1 or 2 for the tiers of data hooks, 0 for hooks that both need.
    pub tier: u8,
    /// Whether it loads and attaches here.
    pub on: bool,
    /// Why not, empty when it does.
    pub reason: String,
    /// What is not seen without it.
    pub lost: String,
}

/// A TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsLibrary {
    /// OpenSSL, shared or built into a program.
    OpenSsl,
    /// BoringSSL: OpenSSL's interface.
    BoringSsl,
    /// crypto/tls of Go.
    Go,
    /// rustls of Rust.
    Rustls,
}

impl TlsLibrary {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::BoringSsl => "BoringSSL",
            Self::Go => "Go crypto/tls",
            Self::Rustls => "rustls",
        }
    }
}

/// A TLS library in a process, and whether its plaintext can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsStatus {
    /// The process.
    pub pid: u32,
    /// The program or library, as the process knows it.
    pub binary: String,
    /// What it is.
    pub library: TlsLibrary,
    /// Whether plaintext is seen, if only in one direction.
    pub visible: bool,
    /// What is not seen and why, empty when all is.
    pub reason: String,
}
