//! The tracker as its driver sees it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
mod corpus;
mod framed;
mod host;
mod http;
mod lifecycle;
mod overlap;
mod splits;
mod web;
