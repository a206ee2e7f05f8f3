//! A real Chromium: headless, with a fresh profile, a tone for a microphone, and trust in the gateway's own CA.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::devtools::{DevTools, Tab};
use crate::process::Process;
use crate::tone::{self, Sound};
use crate::wait::PATIENCE;

/// A running browser. Everything of it goes away with it.
#[derive(Debug)]
pub struct Chromium {
    devtools: DevTools,
    process: Process,
    _home: TempDir,
}

impl Chromium {
    /// Starts a browser whose microphone plays `microphone` (a tone in Hz) and which trusts `ca` (a PEM file) as a person would have it
    /// trusted: by importing it into the certificate store of the profile, so that a wrong certificate still stops it.
    pub async fn start(microphone: impl Into<Sound>, ca: Option<&Path>) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let tone = home.path().join("tone.wav");
        // The fake microphone plays the file in a loop; whole seconds of a whole number of Hz join without a click.
        tone::write_wav(&tone, microphone, 48_000, 10)?;
        if let Some(ca) = ca {
            trust(home.path(), ca)?;
        }
        let profile = home.path().join("profile");
        let program = find(&["chromium", "chromium-browser", "google-chrome"])?;
        let mut arguments: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push(format!("--use-file-for-fake-audio-capture={}", tone.display()));
        arguments.push("about:blank".into());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let home_path = home.path().to_str().context("the path of the home is no text")?.to_owned();
        let environment =
            [("HOME", home_path.as_str()), ("XDG_CONFIG_HOME", &home_path), ("XDG_CACHE_HOME", &home_path)];
        let mut process = Process::start(&program, &arguments, &environment, home.path())?;
        let url = process
            .line("the address of DevTools", PATIENCE, |line| {
                line.strip_prefix("DevTools listening on ").map(str::to_owned)
            })
            .await?;
        Ok(Self { devtools: DevTools::connect(&url).await?, process, _home: home })
    }

    /// Opens a tab of its own: other tabs' storage is out of its reach.
    pub async fn tab(&self) -> Result<Tab> {
        Tab::open(&self.devtools).await
    }

    /// The browser's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

const FLAGS: &[&str] = &[
    "--headless=new",
    // Chromium refuses to run as root with its sandbox, and test machines run as root.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--password-store=basic",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // Without a network card the only way to the gateway is the loopback, which WebRTC leaves out by default.
    "--allow-loopback-in-peer-connection",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
];

/// Puts `ca` into the NSS database where Chromium on Linux looks for authorities: `~/.pki/nssdb`.
fn trust(home: &Path, ca: &Path) -> Result<()> {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store)?;
    let database = format!("sql:{}", store.display());
    certutil(&["-N", "-d", &database, "--empty-password"])?;
    let ca = ca.to_str().context("the path of the CA is no text")?;
    certutil(&["-A", "-d", &database, "-n", "Causeway CA of this test", "-t", "C,,", "-i", ca])
}

fn certutil(arguments: &[&str]) -> Result<()> {
    let output = Command::new("certutil").args(arguments).output().context("cannot run certutil")?;
    ensure!(output.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The first of `names` that stands in the PATH.
pub fn find(names: &[&str]) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
        .with_context(|| format!("none of {names:?} is installed; run tests/setup.sh"))
}
