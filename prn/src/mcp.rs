//! A server of the Model Context Protocol (modelcontextprotocol.io) on standard input and output: an
//! agent's way to the processes of a server.
//!
//! - [`server`]: what the protocol's library calls.
//! - [`tools`]: the tools as agents are told of them; [`files`]: those that are about files.
//! - [`keeper`]: what was started is kept alive while the agent is there, and ends with it.

pub mod files;
pub mod keeper;
pub mod server;
pub mod tools;
