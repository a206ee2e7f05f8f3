//! A name server on the loopback for the tests: it knows the records it was given, says that everything else does not exist,
//! and keeps what it was asked. Written by hand (RFC 1035 §4), so that it shares nothing with the resolver under test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::gateway::DOMAIN;

/// A record.
#[derive(Debug, Clone)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// Priority, weight, port, target (RFC 2782); the target `.` says that there is no such service.
    Srv(u16, u16, u16, &'static str),
    /// Order, preference, flags, service, replacement (RFC 3403).
    Naptr(u16, u16, &'static str, &'static str, &'static str),
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => 1,
            Self::Address(IpAddr::V6(_)) => 28,
            Self::Srv(..) => 33,
            Self::Naptr(..) => 35,
        }
    }

    fn data(&self) -> Vec<u8> {
        let numbers = |numbers: &[u16]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
        match self {
            Self::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Self::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Self::Srv(priority, weight, port, target) => {
                [numbers(&[*priority, *weight, *port]), name(target)].concat()
            }
            Self::Naptr(order, preference, flags, service, replacement) => {
                let mut data = numbers(&[*order, *preference]);
                for text in [*flags, *service, ""] {
                    data.push(text.len() as u8);
                    data.extend_from_slice(text.as_bytes());
                }
                data.extend(name(replacement));
                data
            }
        }
    }
}

/// A running name server.
#[derive(Debug)]
pub struct NameServer {
    /// Where it answers over UDP.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Serves `records`.
    pub async fn start(records: &[(&'static str, Record)]) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (records, kept) = (records.to_vec(), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some((question, name, kind)) = question(&buffer[..length]) else { continue };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
                let found: Vec<_> = records
                    .iter()
                    .filter(|(of, r)| *of == name && r.kind() == kind)
                    .map(|(_, r)| r)
                    .collect();
                // One that has asked and gone needs no answer.
                let _ = socket.send_to(&answer(&buffer[..2], question, &found), from).await;
            }
        });
        Ok(Self { address, asked, task })
    }

    /// The section of a gateway's configuration that has it ask here.
    #[must_use]
    pub fn section(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\n", self.address)
    }

    /// Every name asked for so far, whatever the type, but for those of the gateway's own domain: it looks at itself when it starts.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|name| !name.ends_with(DOMAIN)).cloned().collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The question as it stands, its name in lower case, and its type.
fn question(query: &[u8]) -> Option<(&[u8], String, u16)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    Some((query.get(12..at + 5)?, labels.join("."), kind))
}

fn answer(id: &[u8], question: &[u8], records: &[&Record]) -> Vec<u8> {
    let nxdomain = u8::from(records.is_empty()) * 3;
    let mut reply = id.to_vec();
    reply.extend([0x85, 0x80 | nxdomain, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    for record in records {
        let data = record.data();
        reply.extend([0xc0, 12]);
        reply.extend(record.kind().to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    reply
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
