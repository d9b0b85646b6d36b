//! Bounds of the sensor.

/// Size of the ring, a power of two. It is mapped twice, so the agent's RSS grows by twice this.
pub const RING_BYTES: u32 = 4 << 20;
/// Bytes captured of one syscall on a watched stream; beyond it head and tail.
pub const BUDGET_BYTES: u32 = 256 * 1024;
/// The ring wakes the agent when a quarter of it is filled.
pub(super) const WAKE_SHARE: u32 = 4;
