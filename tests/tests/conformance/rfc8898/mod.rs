//! RFC 8898: tokens in place of passwords.

mod section_2;
