//! Writes small databases in MaxMind's format (version 2.0 of its specification): a search tree of the addresses' bits, the data
//! that its leaves lead to, and what the file says of itself.

use std::net::IpAddr;

/// Between the tree and the data.
const SEPARATOR: [u8; 16] = [0; 16];
/// Before what the file says of itself.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Where a record of a node leads.
#[derive(Clone, Copy)]
enum Record {
    Nowhere,
    Node(usize),
    Data(usize),
}

/// A database of countries by networks, `ADDRESS/BITS` and code; later ones are within earlier ones.
#[must_use]
pub fn countries(networks: &[(&str, &str)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> =
        networks.iter().map(|(_, code)| map(&[("country", map(&[("iso_code", text(code))]))])).collect();
    let networks: Vec<&str> = networks.iter().map(|(network, _)| *network).collect();
    written("Test-Country", &networks, &data)
}

/// A database of something else: texts by their names.
#[must_use]
pub fn database(kind: &str, networks: &[(&str, &[(&str, &str)])]) -> Vec<u8> {
    let fields = |fields: &[(&str, &str)]| {
        map(&fields.iter().map(|(name, value)| (*name, text(value))).collect::<Vec<_>>())
    };
    let data: Vec<Vec<u8>> = networks.iter().map(|(_, of)| fields(of)).collect();
    let networks: Vec<&str> = networks.iter().map(|(network, _)| *network).collect();
    written(kind, &networks, &data)
}

fn written(kind: &str, networks: &[&str], data: &[Vec<u8>]) -> Vec<u8> {
    let (mut nodes, mut section, mut places) = (vec![[Record::Nowhere; 2]], Vec::<u8>::new(), Vec::new());
    for entry in data {
        places.push(section.len());
        section.extend(entry);
    }
    for (network, place) in networks.iter().zip(places) {
        insert(&mut nodes, network, place);
    }
    let count = nodes.len();
    let mut file = Vec::new();
    for record in nodes.into_iter().flatten() {
        let value = match record {
            Record::Nowhere => count,
            Record::Node(node) => node,
            Record::Data(place) => count + SEPARATOR.len() + place,
        };
        file.extend_from_slice(&(value as u32).to_be_bytes());
    }
    file.extend(SEPARATOR);
    file.extend(section);
    file.extend_from_slice(MARKER);
    file.extend(map(&[
        ("binary_format_major_version", number(5, 2)),
        ("binary_format_minor_version", number(5, 0)),
        ("build_epoch", number(9, 1_700_000_000)),
        ("database_type", text(kind)),
        ("description", map(&[])),
        ("ip_version", number(5, 6)),
        ("languages", vec![0, 4]),
        ("node_count", number(6, count as u64)),
        ("record_size", number(5, 32)),
    ]));
    file
}

/// Leads the addresses of a network to data. IPv4 stands at the end of the first 96 bits, all zero.
fn insert(nodes: &mut Vec<[Record; 2]>, network: &str, place: usize) {
    let (address, bits) = network.split_once('/').expect("a network");
    let bits: u32 = bits.parse().expect("bits");
    let (address, bits) = match address.parse().expect("an address") {
        IpAddr::V4(address) => (u128::from(u32::from(address)), bits + 96),
        IpAddr::V6(address) => (u128::from(address), bits),
    };
    let mut node = 0;
    for bit in 0..bits {
        let side = (address >> (127 - bit) & 1) as usize;
        if bit + 1 == bits {
            nodes[node][side] = Record::Data(place);
            return;
        }
        node = match nodes[node][side] {
            Record::Node(next) => next,
            // What a larger network has led to, both halves of it still do.
            other => {
                nodes.push([other; 2]);
                let next = nodes.len() - 1;
                nodes[node][side] = Record::Node(next);
                next
            }
        };
    }
}

/// A type and a size below 29.
fn control(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).ok().filter(|size| *size < 29).expect("short");
    if kind < 8 { vec![kind << 5 | size] } else { vec![size, kind - 7] }
}

fn text(text: &str) -> Vec<u8> {
    [control(2, text.len()), text.as_bytes().to_vec()].concat()
}

fn number(kind: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    [control(kind, 8 - zeros), bytes[zeros..].to_vec()].concat()
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields_of = fields.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
    [control(7, fields.len()), fields_of.collect()].concat()
}
