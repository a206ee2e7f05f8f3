//! Questions to a relay, in its control protocol ng.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// A cookie that comes again gets the answer of before.
static COOKIES: AtomicU64 = AtomicU64::new(0);

/// The answer of the relay on this port of the loopback to `command`, a dictionary.
pub async fn ask(port: u16, command: &Value) -> Result<Value> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let message = format!("e{}-{} {command}", std::process::id(), COOKIES.fetch_add(1, Ordering::Relaxed));
    let mut answer = vec![0; 65_536];
    for _ in 0..40 {
        socket.send_to(message.as_bytes(), (Ipv4Addr::LOCALHOST, port)).await?;
        let Ok(received) = timeout(Duration::from_millis(500), socket.recv_from(&mut answer)).await else {
            continue;
        };
        let text = std::str::from_utf8(&answer[..received?.0])?;
        return Ok(serde_json::from_str(text.split_once(' ').context("no cookie")?.1)?);
    }
    bail!("no answer on the ng port to {command}")
}
