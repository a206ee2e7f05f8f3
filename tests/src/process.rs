//! A child process whose output is kept, and which ends with the test whatever way that ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

/// A running child in a process group of its own; dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `program`. `setpriv` has the kernel kill it when the thread that started it dies, so that a test that is
    /// itself killed leaves nothing behind.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let lines = Arc::default();
        keep_lines(child.stdout.take(), &lines);
        keep_lines(child.stderr.take(), &lines);
        Ok(Self { name, child, lines })
    }

    /// Process id, which is also that of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far on both outputs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line, printed or still to come, for which `wanted` yields something.
    pub async fn line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let mut seen = 0;
        let mut ended = false;
        let found = wait::until_now(what, limit, || {
            // Asked before the lines are read, so that the last words of one that ended are still seen.
            ended = !self.is_running();
            let lines = self.lines();
            let found = lines[seen..].iter().find_map(|line| wanted(line));
            seen = lines.len();
            match found {
                Some(found) => Some(Ok(found)),
                None => ended.then_some(Err(())),
            }
        })
        .await;
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(())) => bail!("{} ended before {what}:\n{}", self.name, self.tail()),
            Err(error) => Err(error.context(format!("{} said:\n{}", self.name, self.tail()))),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal (`INT`, `TERM`, `KILL`, `STOP` ...) to the process itself.
    pub fn signal(&self, signal: &str) -> Result<()> {
        kill(signal, &self.id().to_string())
    }

    /// Waits until it has ended by itself; its exit code (`None` when a signal ended it).
    pub async fn ended(&mut self, limit: Duration) -> Result<Option<i32>> {
        let name = self.name.clone();
        let status =
            wait::until_now(format!("the end of {name}"), limit, || self.child.try_wait().ok().flatten())
                .await?;
        Ok(status.code())
    }

    /// The last lines it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The leader may be gone while others of its group still run.
        let _ = kill("KILL", &format!("-{}", self.id()));
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, target: &str) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\"", signal, target])
        .stderr(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("no process {target} to signal");
    }
    Ok(())
}

fn keep_lines(output: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let Some(output) = output else { return };
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            line.clear();
        }
    });
}
