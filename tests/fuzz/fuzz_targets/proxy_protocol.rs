#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| causeway::transport::fuzz::proxy_protocol(input));
