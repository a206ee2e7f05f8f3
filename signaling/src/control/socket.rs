//! The Unix socket of the data directory: each line is a JSON-RPC message, and each answer one. Only the owner of the gateway
//! can open it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Control;
use super::jsonrpc::{Fault, INVALID_REQUEST, MAX_MESSAGE, refusal};

/// Connections at a time; others wait.
const CONNECTIONS: usize = 64;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// The open socket, which is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens it at `path`, in the place of one that a gateway has left which was killed. Must be called within a runtime.
    ///
    /// # Errors
    /// A gateway answers there, or the file cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = || format!("rpc.socket {}", path.display());
        ensure!(
            std::os::unix::net::UnixStream::connect(path).is_err(),
            "{}: another gateway runs with this data directory",
            name()
        );
        // Under its name it is there only with its permissions.
        let part = path.with_extension("part");
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(name);
            }
            _ => {}
        }
        let listener = UnixListener::bind(&part).with_context(name)?;
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o600)).with_context(name)?;
        std::fs::rename(&part, path).with_context(name)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves it, for ever.
    pub async fn run(self, control: Arc<Control>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let control = Arc::clone(&control);
                    tokio::spawn(async move {
                        if let Err(error) = serve(&control, stream).await {
                            tracing::debug!(%error, "control socket");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: accepting again at once would only spin.
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket not removed");
        }
    }
}

async fn serve(control: &Control, stream: UnixStream) -> std::io::Result<()> {
    let by = stream.peer_cred().map_or_else(|_| "socket".to_owned(), |peer| format!("uid {}", peer.uid()));
    let _visit = control.visitors.enter(&by);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(MAX_MESSAGE as u64 + 1);
        let Ok(read) = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await else {
            return Ok(());
        };
        if read? == 0 {
            return Ok(());
        }
        if line.len() > MAX_MESSAGE {
            // Where the next message begins is not known.
            let fault = Fault::new(INVALID_REQUEST, format!("a message has at most {MAX_MESSAGE} bytes"));
            writer.write_all(&refusal(&fault)).await?;
            return writer.write_all(b"\n").await;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some(mut answer) = control.answer(line.trim_ascii(), &by).await {
            answer.push(b'\n');
            writer.write_all(&answer).await?;
        }
    }
}
