//! What 300,000 registered contacts cost in memory: `cargo run --release -p signaling-core --example contacts`.

#![allow(clippy::print_stdout, reason = "a figure for people")]

use std::net::{Ipv4Addr, SocketAddr};

use signaling_core::flow::{Flow, Protocol};
use signaling_core::location::{Changes, Location, Registration, Rules, Shared};
use signaling_core::outside::{BindingRow, StoredBinding};
use signaling_core::settings::MatchingMode;

const CONTACTS: u32 = 300_000;

/// Resident memory in bytes, as the kernel counts it.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

fn contact(shared: &mut Shared, number: u32, flow: &Flow) -> StoredBinding {
    StoredBinding::from(BindingRow {
        ruid: &format!("uloc-{number:016x}"),
        contact: &format!("sip:user{number}@{};transport=udp", flow.remote),
        received: flow.remote,
        protocol: flow.protocol,
        local: Some(&shared.address(flow.local)),
        path: "",
        expires_at: 4600,
        last_modified: 1000,
        q: 0,
        call_id: &format!("{number:08x}-6f1c-4a0e-9d4b@198.51.100.7"),
        cseq: 1,
        user_agent: &shared.text("Phone 1.2.3 (a hundred others say the same)"),
        instance: &format!("urn:uuid:00000000-0000-1000-8000-{number:012x}"),
        reg_id: 1,
        methods: u32::MAX,
    })
}

fn main() {
    let (location, mut shared, before) = (Location::new(), Shared::default(), resident());
    let rules = Rules { max_contacts: 10, matching_mode: MatchingMode::Contact, cseq_delay: 20 };
    for number in 0..CONTACTS {
        let remote = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 5060));
        let local = SocketAddr::from(([192, 0, 2, 1], 5060));
        let flow = Flow { protocol: Protocol::Udp, local, remote, connection: None };
        let contact = contact(&mut shared, number, &flow);
        let call_id = contact.call_id().to_owned();
        let changes = Changes::Each(vec![contact]);
        let aor = format!("user{number}@sip.example.com");
        let registration = Registration { aor: &aor, call_id: &call_id, cseq: 1, flow, changes, rules };
        assert!(location.update(registration, 1000).is_ok(), "contact {number}");
    }
    let used = resident() - before;
    let each = used / CONTACTS as usize;
    assert_eq!(location.count(), (CONTACTS as usize, CONTACTS as usize));
    println!("{CONTACTS} contacts: {} MB, {each} bytes each", used / 1_000_000);
}
