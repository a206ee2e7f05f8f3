//! The container image, run by `deploy/docker-compose.yml` as a person runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Process;
use crate::wait;

/// A container that starts may have to wait for its turn on a busy machine; its health is looked at every ten seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The image under test (`CAUSEWAY_IMAGE`).
#[must_use]
pub fn image() -> String {
    std::env::var("CAUSEWAY_IMAGE").unwrap_or_else(|_| format!("causeway:{}", env!("CARGO_PKG_VERSION")))
}

/// What the engine says to a command; an error when it fails.
pub fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).output().context("docker")?;
    ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One service of the compose file, under a project name of its own; dropping it removes all that belongs to it.
#[derive(Debug)]
pub struct Container {
    project: String,
    service: &'static str,
    environment: Vec<(String, String)>,
    folder: PathBuf,
}

impl Container {
    /// `number` tells projects apart. `environment` is what the compose file is told; relative paths are of `folder`.
    #[must_use]
    pub fn new(
        service: &'static str,
        number: u16,
        environment: Vec<(String, String)>,
        folder: &Path,
    ) -> Self {
        let project = format!("causeway-test-{number}");
        Self { project, service, environment, folder: folder.to_owned() }
    }

    /// Runs it in the foreground: what it logs is what the process says.
    pub fn up(&self) -> Result<Process> {
        let words = self.words(&["up", "--no-build", "--no-color", self.service]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Process::start(Path::new(words[0]), &words[1..], &environment, &self.folder)
    }

    /// The command that runs `arguments` of the gateway within it.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive", &self.id()?, "causeway"]).args(arguments);
        Ok(command)
    }

    /// The engine's name of it.
    pub fn id(&self) -> Result<String> {
        let of = |label: &str, value: &str| format!("label=com.docker.compose.{label}={value}");
        let (project, service) = (of("project", &self.project), of("service", self.service));
        let all = docker(&["ps", "--all", "--quiet", "--filter", &project, "--filter", &service])?;
        all.lines().next().map(ToOwned::to_owned).with_context(|| format!("no container of {}", self.project))
    }

    /// What the engine knows of it, by a template of Go.
    pub fn inspect(&self, template: &str) -> Result<String> {
        docker(&["inspect", "--format", template, &self.id()?])
    }

    /// Waits until its own health check says that it is well.
    pub async fn is_healthy(&self) -> Result<()> {
        let healthy = || self.inspect("{{.State.Health.Status}}").is_ok_and(|status| status == "healthy");
        wait::until_now("the health of the container", PATIENCE, || healthy().then_some(())).await
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker-compose.yml");
        let file = file.display().to_string();
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        let is_plugin = plugin.is_ok_and(|output| output.status.success());
        let tool = if is_plugin { &["docker", "compose"][..] } else { &["docker-compose"] };
        let options = ["--project-name", self.project.as_str(), "--file", file.as_str()];
        tool.iter().chain(&options).chain(more).map(|word| (*word).to_owned()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let words = self.words(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        // What is left then, the next test of this name removes.
        let _ = Command::new(&words[0]).args(&words[1..]).envs(environment).output();
    }
}
