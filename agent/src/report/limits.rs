//! What a report shows at most, and from when on it says something.

/// Slots of the timeline, about.
pub(super) const SLOTS: u64 = 96;
/// Operations among the slowest.
pub(super) const SLOWEST: usize = 10;
/// Single calls among the slowest.
pub(super) const SLOWEST_CALLS: usize = 10;
/// Sessions that are named.
pub(super) const SESSIONS: usize = 20;
/// Flags that are named.
pub(super) const FLAGS: usize = 50;
/// Servers and operations of a server that are printed as text or HTML; JSON has all.
pub(super) const ROWS: usize = 50;
/// Recommendations.
pub(super) const RECOMMENDATIONS: usize = 12;
/// A change by less than this share is none.
pub(super) const STABLE: f64 = 0.05;
/// Fewer calls than this are no ground to compare or advise on.
pub(super) const ENOUGH: u64 = 20;
