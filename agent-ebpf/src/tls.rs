//! The seam to TLS: which session a socket's ciphertext belongs to.

use crate::scope::Thread;

/// `thread` has written to the TCP socket `socket`, whose sock is at `sock`; the first of the bytes
/// are at `bytes` in its memory.
#[inline(always)]
pub(crate) fn sent(_thread: Thread, _socket: u64, _sock: u64, _bytes: u64) {}
