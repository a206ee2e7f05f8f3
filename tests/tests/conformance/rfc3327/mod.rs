//! Path: the proxies between a phone and its registrar.

mod section_05;
