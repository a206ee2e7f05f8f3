//! Managing client-initiated connections: flows, their registration and their keep-alive.

mod section_04;
mod section_05;
mod section_06;
