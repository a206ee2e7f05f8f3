//! A TCP connection that moves from the thread that has accepted it to the worker that keeps it.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream whose socket wakes the runtime in which it was registered last.
pub(super) trait Movable: AsyncRead + AsyncWrite + Send + Unpin + Sized + 'static {
    /// From now on belongs to the runtime within which this is called.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    fn settle(&mut self) -> io::Result<()>;
}

/// The socket.
#[derive(Debug)]
pub(super) struct Connected(pub(super) TcpStream);

impl Movable for Connected {
    fn settle(&mut self) -> io::Result<()> {
        // A registration ends with its descriptor, and belongs to its runtime until then.
        let descriptor = self.0.as_fd().try_clone_to_owned()?;
        self.0 = TcpStream::from_std(descriptor.into())?;
        Ok(())
    }
}

impl Movable for TlsStream<Connected> {
    fn settle(&mut self) -> io::Result<()> {
        self.get_mut().0.settle()
    }
}

impl AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connected {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
