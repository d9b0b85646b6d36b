//! Plaintext at the boundary of TLS libraries, and which socket it belongs to.
//!
//! Entry points by library, [`openssl`], [`go`] and [`rustls`], end in [`plaintext`], which ships
//! what moved on a [`session`]. [`bind`] finds the session's socket.

mod bind;
mod call;
mod go;
mod openssl;
mod plaintext;
mod registers;
mod rustls;
mod session;

pub(crate) use bind::sent;
pub(crate) use rustls::received;
