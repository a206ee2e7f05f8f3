//! What the end-to-end tests share: real peers as child processes, tones to know them by, and a simulated network.
//!
//! | module | one line |
//! |---|---|
//! | [`wait`] | waiting for a condition with a deadline |
//! | [`process`] | a child process with its output, ended together with the test |
//! | [`tone`] | sine tones written as WAV files and recognised again |
//! | [`ports`] | blocks of ports that one test owns |
//! | [`gateway`] | the real gateway with its own data directory and ports |
//! | [`container`] | the same as a container of the image |
//! | [`devtools`], [`chromium`], [`page`] | a real browser and the softphone page in it |
//! | [`baresip`] | a real legacy phone |
//! | [`sip`], [`digest`], [`phone`] | a scripted legacy phone on plain sockets, for what no real one does on demand |
//! | [`wire`] | scripted peers on TCP, TLS and WebSocket, byte by byte and frame by frame |
//! | [`tokens`] | what a web application signs its users in with |
//! | [`mmdb`] | databases of addresses in MaxMind's format |
//! | [`databases`] | a real PostgreSQL, MariaDB or SQLite |
//! | [`disks`] | small and read-only disks |
//! | [`dns`] | a name server with the records of a test |
//! | [`ng`] | questions to a relay |
//! | [`bystanders`] | a call that is measured while something else goes on |
//! | [`house`] | who serves page and phones: our gateway, or one half of it |
//! | [`scene`] | the three of them, registered and ready to call |
//! | [`calls`] | the calls that they make, whoever serves them |
//! | [`fuzz`] | one entry per parser of network input, for the smoke test and for cargo-fuzz |
//! | [`torture`] | the messages of RFC 4475 and RFC 5118 |
//! | [`sim`] | phones, browsers, proxy and relay in one thread with a virtual clock |
//! | [`peers`] | a real rtpengine for our proxy, a real Kamailio for our relay |
//! | [`kamcmd`] | a real Kamailio that is asked by JSON-RPC |
//! | [`subject`] | whom the conformance tests judge: ours or Kamailio |
#![allow(clippy::missing_errors_doc)] // Every error here ends a test, and its text says what was waited for.

pub mod baresip;
pub mod bystanders;
pub mod calls;
pub mod chromium;
pub mod container;
pub mod databases;
pub mod devtools;
pub mod digest;
pub mod disks;
pub mod dns;
pub mod fuzz;
pub mod gateway;
pub mod house;
pub mod kamcmd;
pub mod mmdb;
pub mod ng;
pub mod page;
pub mod pebble;
pub mod peers;
pub mod phone;
pub mod ports;
pub mod process;
pub mod scene;
pub mod sim;
pub mod sip;
pub mod subject;
pub mod tokens;
pub mod tone;
pub mod torture;
pub mod voice;
pub mod wait;
pub mod wire;
