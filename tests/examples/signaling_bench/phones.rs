//! Many phones that stay registered.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::load::{Pace, answer, field, receive, request};

/// Phones that register in a second.
const RATE: u32 = 4000;
/// How often one asks when it hears nothing.
const TRIES: u32 = 20;

/// Registered phones, all on one socket.
pub(crate) struct Phones {
    socket: UdpSocket,
    local: SocketAddr,
}

/// Registers as many users with a phone each, behind a NAT. What is lost on a busy machine is sent again.
pub(crate) fn register(server: SocketAddr, count: u32) -> Result<Phones> {
    let socket = UdpSocket::bind(("127.0.0.72", 0))?;
    socket.set_read_timeout(Some(Duration::from_micros(200)))?;
    let phones = Phones { local: socket.local_addr()?, socket };
    let mut missing: Vec<u32> = (0..count).collect();
    for cseq in 1..=TRIES {
        missing = phones.register_once(server, &missing, cseq)?;
        if missing.is_empty() {
            return Ok(phones);
        }
    }
    bail!("{} of {count} phones not registered", missing.len())
}

impl Phones {
    /// Registers the phones with these numbers, which are in order; those that have not heard of it.
    fn register_once(&self, server: SocketAddr, wanted: &[u32], cseq: u32) -> Result<Vec<u32>> {
        let (mut pace, mut buffer) = (Pace::new(u32::try_from(wanted.len())?, RATE), vec![0; 65_535]);
        let mut there = vec![false; wanted.len()];
        let mut done = 0;
        while done < wanted.len() && !pace.is_over() {
            while let Some(next) = pace.begin() {
                self.socket.send_to(self.text(wanted[next as usize], cseq).as_bytes(), server)?;
            }
            let Some(answer) = self.hear(&mut buffer)? else { continue };
            pace.heard();
            // A server that has no time now is asked again.
            if answer.starts_with("SIP/2.0 503") {
                continue;
            }
            ensure!(answer.starts_with("SIP/2.0 200"), "{}", answer.lines().next().unwrap_or_default());
            let id = field(&answer, "Call-ID").trim_start_matches('m');
            let number: u32 = id.split('-').next().unwrap_or_default().parse()?;
            // One of an earlier try may come late.
            let Ok(place) = wanted.binary_search(&number) else { continue };
            done += usize::from(!std::mem::replace(&mut there[place], true));
        }
        Ok(wanted.iter().zip(there).filter(|(_, there)| !there).map(|(number, _)| *number).collect())
    }

    /// Lets time pass.
    pub(crate) fn stay(&self, time: Duration) -> Result<()> {
        let (until, mut buffer) = (Instant::now() + time, vec![0; 65_535]);
        while Instant::now() < until {
            self.hear(&mut buffer)?;
        }
        Ok(())
    }

    /// The next message, if it comes within a moment and is an answer. What the server asks (RFC 3261 §11) is answered.
    fn hear(&self, buffer: &mut [u8]) -> Result<Option<String>> {
        let Some((message, from)) = receive(&self.socket, buffer) else { return Ok(None) };
        if message.starts_with("SIP/2.0") {
            return Ok(Some(message));
        }
        ensure!(message.starts_with("OPTIONS "), "{}", message.lines().next().unwrap_or_default());
        self.socket.send_to(answer(&message, self.local, "200 OK", "").as_bytes(), from)?;
        Ok(None)
    }

    fn text(&self, number: u32, cseq: u32) -> String {
        let (name, phone) = (format!("u{number:06}"), Ipv4Addr::from(0x0a00_0000 + number));
        let more = format!(
            "Contact: <sip:{name}@{phone}:5060;transport=udp>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{number:012x}>\"\r\n\
             User-Agent: Phone 1.2.3\r\nExpires: 3600\r\n"
        );
        let (via, to) = (format!("UDP {}", self.local), format!("<sip:{name}@bench.test>"));
        let call_id = format!("m{number}-6f1c4a0e9d4b@phone.invalid");
        request("REGISTER", "sip:bench.test", &via, &call_id, &name, &to, cseq, &more, "")
    }
}
