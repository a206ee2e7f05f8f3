//! The command line over TCP: one line in, the answer out, and the connection is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Control;
use super::cli::{self, MAX_LINE};

/// How long the line may take to come, and the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one connection.
pub(super) async fn serve(control: &Arc<Control>, stream: TcpStream, source: SocketAddr) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut limited = (&mut stream).take(MAX_LINE as u64 + 1);
    match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
        Ok(Ok(0)) => return,
        Ok(Ok(_)) if line.len() <= MAX_LINE => {}
        Ok(Ok(_)) => return control.drop_one(source, "the command is too long"),
        Ok(Err(error)) => return control.drop_one(source, &error.to_string()),
        Err(_) => return control.drop_one(source, "the command did not come"),
    }
    let command = String::from_utf8_lossy(&line);
    tracing::info!(%source, command = command.trim(), "command line");
    let answer = cli::run(control, &command).await;
    let write = async {
        stream.get_mut().write_all(answer.as_bytes()).await?;
        stream.get_mut().shutdown().await
    };
    match timeout(PATIENCE, write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%source, %error, "command line"),
        Err(_) => tracing::debug!(%source, "the answer is not taken"),
    }
}
