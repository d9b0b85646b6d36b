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
