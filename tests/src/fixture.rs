//! The project's own MCP server and client: plain std, so that they run in a bare virtual machine.

pub mod catalogue;
pub mod client;
pub mod load;
pub mod noise;
pub mod rpc;
pub mod score;
pub mod script;
pub mod server;
pub mod spawn;
pub mod sys;
pub mod syscalls;
pub mod tools;
pub mod truth;
pub mod wire;
pub mod work;
