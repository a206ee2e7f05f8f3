//! The gateway as its peers meet it: over sockets, and from the command line.

mod command_line;
mod control;
mod sip;
mod streams;
mod support;
mod web;
