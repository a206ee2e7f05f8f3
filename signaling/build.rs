//! Says which compiler builds the program, for `core.info`.
#![allow(clippy::print_stdout, reason = "so a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(compiler).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // "rustc 1.95.0 (abc 2026-01-01)": its first two words.
    let words =
        version.as_deref().unwrap_or("rustc").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    println!("cargo:rustc-env=CAUSEWAY_COMPILER={words}");
}
