//! The project's own MCP server and client, over stdio and over HTTP.

pub mod catalogue;
pub mod client;
pub mod group;
pub mod hold;
pub mod http;
pub mod load;
pub mod noise;
pub mod pair;
pub mod rpc;
pub mod score;
pub mod script;
pub mod server;
pub mod spawn;
pub mod sys;
pub mod syscalls;
pub mod took;
pub mod tools;
pub mod truth;
pub mod wire;
pub mod work;
