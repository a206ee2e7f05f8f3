//! Ports for what a test starts. A peer that is told its ports by a file or an option has to be told numbers that nobody
//! else takes between the choice and the bind, so a test owns a whole block of them.
//!
//! The blocks lie below the range from which the kernel gives ports to sockets that ask for any (32768 by default), and each
//! is held by a lock on a file for as long as its owner lives: tests in other threads and in other processes get other ones.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

use crate::wait::{self, PATIENCE};

/// Ports of one block: enough for the largest test, 200 calls with a pair for each legacy leg.
const BLOCK: u16 = 500;
/// Of these, how many at its beginning are for listeners; the rest is for media.
const LISTENERS: u16 = 20;
/// The first port of the first block, above those that installed services commonly use.
const FIRST: u16 = 10_000;
/// Blocks up to port 31999.
const BLOCKS: u16 = 44;

/// A block of ports that nobody else has until it is dropped.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    next: u16,
    /// Unlocked by its end, whatever way the process ends.
    _lock: File,
}

impl Ports {
    /// Takes a block, waiting for one while others have them all.
    pub async fn take() -> Result<Self> {
        let folder = std::env::temp_dir().join("causeway-test-ports");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Where to begin differs between processes, so that they seldom ask for the same lock.
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        wait::until("a free block of ports", PATIENCE, || {
            let found = (0..BLOCKS).map(|n| (start + n) % BLOCKS).find_map(|block| {
                let file = folder.join(block.to_string());
                match File::create(&file).map(|lock| (lock.try_lock(), lock)) {
                    Ok((Ok(()), lock)) => {
                        let first = FIRST + block * BLOCK;
                        is_free(first).then_some(Ok(Self { first, next: first, _lock: lock }))
                    }
                    Ok((Err(TryLockError::WouldBlock), _)) => None,
                    Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                        Some(Err(error).with_context(|| format!("cannot lock {}", file.display())))
                    }
                }
            });
            std::future::ready(found.transpose())
        })
        .await
    }

    /// A port for a listener, another one at each call.
    pub fn listener(&mut self) -> Result<u16> {
        let port = self.next;
        anyhow::ensure!(
            port < self.first + LISTENERS,
            "a test has asked for more than {LISTENERS} listeners"
        );
        self.next += 1;
        Ok(port)
    }

    /// The first and last port for media.
    #[must_use]
    pub const fn media(&self) -> (u16, u16) {
        (self.first + LISTENERS, self.first + BLOCK - 1)
    }
}

/// Whether no service of this machine has a port of the block that begins at `first`.
fn is_free(first: u16) -> bool {
    (first..first + BLOCK).all(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
        && (first..first + LISTENERS).all(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_owners_share_no_port() -> Result<()> {
        let (mut one, two) = (Ports::take().await?, Ports::take().await?);
        assert_ne!(one.first, two.first);
        assert_eq!([one.listener()?, one.listener()?], [one.first, one.first + 1]);
        let (first, last) = one.media();
        assert!(first == one.first + LISTENERS && last == one.first + BLOCK - 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_block_with_a_service_in_it_is_left_alone() -> Result<()> {
        let first = Ports::take().await?.first;
        let _service = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, first + 7))?;
        assert!(!is_free(first));
        Ok(())
    }
}
