//! Globally routable user agent URIs.

mod section_05;
