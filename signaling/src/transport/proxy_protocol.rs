//! The PROXY protocol, versions 1 and 2: a reverse proxy says before anything else from whom a connection comes.
//!
//! It is read only on connections from where the operator says that it comes (`network.proxy_protocol_from`), and there it must
//! come: whoever guessed would let everybody behind a proxy that does not speak it choose his own address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const LINE: usize = 107;
/// The longest rest of version 2 that is read: addresses, and extensions, which are passed over.
pub(super) const REST: usize = 2048;

/// Reads the header, and not an octet more. From whom the connection comes; `None`: from the proxy itself, which looks whether we
/// are well, or does not know.
///
/// # Errors
/// The connection has ended, or what comes is no such header.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    let read = if start == SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > REST {
            return Err(malformed());
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        binary(head[0], head[1], &rest)
    } else if start.starts_with(b"PROXY ") {
        let mut line = Vec::from(start);
        while !line.ends_with(b"\r\n") {
            if line.len() >= LINE {
                return Err(malformed());
            }
            line.push(stream.read_u8().await?);
        }
        text(&line)
    } else {
        None
    };
    read.ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header")
}

/// Version 1: `PROXY TCP4 SOURCE DESTINATION PORT PORT`. The outer `None` is a malformed one.
fn text(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    if words.get(1) == Some(&"UNKNOWN") {
        return Some(None);
    }
    let [_, family, source, destination, source_port, destination_port] = words[..] else { return None };
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse().ok().map(IpAddr::V4),
            "TCP6" => word.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u16>().ok())?;
    address(destination)?;
    port(destination_port)?;
    Some(Some(SocketAddr::new(address(source)?, port(source_port)?)))
}

/// Version 2. The outer `None` is a malformed one.
fn binary(command: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    match (command, family) {
        // LOCAL, and families of which nothing can be said here: unspecified and Unix sockets.
        (0x20, _) | (0x21, 0x00 | 0x31) => Some(None),
        (0x21, 0x11) => {
            let ip: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            Some(Some((ip, port(8).filter(|_| rest.len() >= 12)?).into()))
        }
        (0x21, 0x21) => {
            let ip: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            Some(Some((ip, port(32).filter(|_| rest.len() >= 36)?).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(bytes: &[u8]) -> (Option<Option<SocketAddr>>, Vec<u8>) {
        let mut stream = bytes;
        let read = read(&mut stream).await.ok();
        (read, stream.to_vec())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn whoever_is_named_is_the_peer_and_what_follows_stays() {
        let v4 = [&[203, 0, 113, 9, 192, 0, 2, 1][..], &[0x9c, 0x40, 0x20, 0xfb]].concat();
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9], &[0; 16], &[0x9c, 0x40, 0x20, 0xfb]].concat();
        let more = [&v4[..], &[0x04, 0, 1, 0xff]].concat();
        let (one, two) =
            (Some("203.0.113.9:40000".parse().unwrap()), Some("[2001:db8::9]:40000".parse().unwrap()));
        for (header, expected) in [
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 8443\r\n".to_vec(), one),
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 40000 8443\r\n".to_vec(), two),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), one),
            (version_2(0x21, 0x11, &more), one),
            (version_2(0x21, 0x21, &v6), two),
            (version_2(0x20, 0x00, &[]), None),
            (version_2(0x20, 0x11, &v4), None),
            (version_2(0x21, 0x31, &[0; 216]), None),
        ] {
            let (read, left) = of(&[&header[..], b"\x16\x03\x01"].concat()).await;
            assert_eq!(read, Some(expected), "{}", header.escape_ascii());
            assert_eq!(left, b"\x16\x03\x01");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused_without_reading_on() {
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 84430\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 +4000 8443\r\n",
            b"PROXY TCP4 2001:db8::9 192.0.2.1 40000 8443\r\n",
            b"PROXY TCP4 203.0.113.9  192.0.2.1 40000 8443\r\n",
            b"PROXY UDP4 203.0.113.9 192.0.2.1 40000 8443\r\n",
            b"PROXY TCP4 203.0.113.9\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 8443",
            b"PROXY \r\n\r\n\r\n\r\n",
            &long,
            &version_2(0x11, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &version_2(0x21, 0x12, &[0; 12]),
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x21, 0x21, &[0; 35]),
            &version_2(0x21, 0x11, &[0; 12])[..20],
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 3000]].concat(),
        ] {
            let (read, left) = of(bytes).await;
            assert_eq!(read, None, "{}", bytes.escape_ascii());
            assert!(bytes.len() - left.len() <= LINE.max(16 + REST));
        }
    }
}
