//! The media relay: threads and sockets around [`media_core`].
