//! JSON as a stream: only what an observer of MCP needs is taken out, nothing is buffered whole.

mod digest;
mod envelope;
mod field;
mod scanner;
mod tail;
mod text;

pub(crate) use envelope::Envelope;
pub(crate) use field::Field;
pub(crate) use scanner::{Scanner, Step};
pub(crate) use tail::Tail;
