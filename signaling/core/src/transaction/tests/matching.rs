//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3), and where answers go (§18.2.2).

use super::*;

// §17.2.3, §17.1.3 matching

#[test]
fn s17_2_3_branch_sent_by_and_method_make_the_transaction() {
    let base = request("OPTIONS", "z9hG4bK1");
    for (other, same) in [
        (base.clone(), true),
        (base.replace("192.0.2.9:5062", "192.0.2.9:5063"), false),
        (base.replace("192.0.2.9:5062", "192.0.2.10:5062"), false),
        (base.replace("z9hG4bK1", "z9hG4bK2"), false),
        (request("INFO", "z9hG4bK1"), false),
        (base.replace("Call-ID: c1", "Call-ID: c2"), true),
    ] {
        let mut bed = Bed::new(Protocol::Udp);
        bed.server(&base);
        bed.receive(&other);
        assert_eq!(bed.events().is_empty(), same, "{other}");
        bed.assert_clean();
    }
}

#[test]
fn s17_2_3_an_rfc_2543_client_is_matched_by_the_headers() {
    let mut bed = Bed::new(Protocol::Udp);
    let text = request("INVITE", "1");
    let (id, invite) = bed.server(&text);
    bed.sent();
    bed.receive(&text);
    assert_eq!(bed.words(), ["100"], "a retransmission");
    for (from, to) in [
        ("CSeq: 1", "CSeq: 2"),
        ("tag=a", "tag=x"),
        ("Call-ID: c1", "Call-ID: c2"),
        ("bob@example.com S", "x@example.com S"),
    ] {
        bed.receive(&text.replace(from, to));
        assert!(matches!(bed.events()[..], [Event::Request { .. }]), "{to}");
    }
    bed.sent();
    bed.respond(id, &invite, StatusCode::BUSY_HERE);
    assert_eq!(bed.words(), ["486"]);
    bed.receive(&ack("1", "another"));
    assert!(matches!(bed.events()[..], [Event::Ack { invite: None, .. }]));
    bed.receive(&ack("1", "ours"));
    assert!(bed.events().is_empty(), "absorbed");
    bed.receive(&request("CANCEL", "1"));
    assert!(matches!(bed.events()[..], [Event::Cancel { invite: Some(up), .. }] if up == id));
    bed.assert_clean();
}

#[test]
fn s8_2_2_2_a_request_that_came_by_two_ways_is_marked_as_merged() {
    let mut bed = Bed::new(Protocol::Udp);
    bed.receive(&invite());
    bed.receive(&request("INVITE", "z9hG4bK2"));
    let events = bed.events();
    assert!(matches!(
        events[..],
        [Event::Request { merged: false, .. }, Event::Request { merged: true, .. }]
    ));
    bed.assert_clean();
}

#[test]
fn s17_1_3_a_response_needs_branch_and_method() {
    for (branch, method) in [("z9hG4bKx", "OPTIONS"), ("z9hG4bK1", "CANCEL"), ("", "OPTIONS")] {
        let mut bed = Bed::new(Protocol::Udp);
        bed.client(&request("OPTIONS", "z9hG4bK1"));
        bed.receive(&response("200 OK", method, branch));
        assert!(matches!(bed.events()[..], [Event::Response { id: None, .. }]), "{branch} {method}");
        bed.assert_clean();
    }
}

// §18.2 where responses go

#[test]
fn s18_2_2_responses_go_to_the_source_or_to_sent_by() {
    let with = |via: &str, force_rport| {
        let mut bed = Bed::with(Protocol::Udp, Config { force_rport, ..Config::default() });
        bed.receive(&request("OPTIONS", "z9hG4bK1").replace("192.0.2.9:5062;branch=z9hG4bK1;rport", via));
        let Some(Event::Request { id, request, .. }) = bed.table.poll_event() else { panic!("a request") };
        bed.respond(id, &request, StatusCode::OK);
        let out = bed.table.poll_transmit().unwrap();
        let Destination::Flow(flow) = out.destination else { panic!("a flow") };
        (flow.remote.to_string(), String::from_utf8(request.raw(Name::Via).unwrap().to_vec()).unwrap())
    };
    for (via, force, remote, stamped) in [
        ("192.0.2.9:5062;branch=z9hG4bK1", false, "192.0.2.9:5062", "192.0.2.9:5062;branch=z9hG4bK1"),
        ("192.0.2.9;branch=z9hG4bK1", false, "192.0.2.9:5060", "192.0.2.9;branch=z9hG4bK1"),
        (
            "10.0.0.1:7000;branch=z9hG4bK1",
            false,
            "192.0.2.9:7000",
            "10.0.0.1:7000;branch=z9hG4bK1;received=192.0.2.9",
        ),
        (
            "10.0.0.1;rport;branch=z9hG4bK1",
            false,
            "192.0.2.9:5062",
            "10.0.0.1;rport=5062;branch=z9hG4bK1;received=192.0.2.9",
        ),
        (
            "10.0.0.1;branch=z9hG4bK1",
            true,
            "192.0.2.9:5062",
            "10.0.0.1;branch=z9hG4bK1;rport=5062;received=192.0.2.9",
        ),
        // A forged `received` turns nothing away.
        (
            "host.invalid;received=198.51.100.1;branch=z9hG4bK1",
            false,
            "192.0.2.9:5060",
            "host.invalid;branch=z9hG4bK1;received=192.0.2.9",
        ),
    ] {
        assert_eq!(with(via, force), (remote.to_owned(), format!("SIP/2.0/UDP {stamped}")), "{via}");
    }
}

#[test]
fn s18_2_2_a_response_whose_connection_is_gone_opens_one_to_sent_by() {
    let mut bed = Bed::new(Protocol::Tcp);
    let (id, request) = bed.server(&invite());
    bed.respond(id, &request, StatusCode::BUSY_HERE);
    let out = std::iter::from_fn(|| bed.table.poll_transmit()).last().unwrap();
    let expected = Destination::Address { protocol: Protocol::Tcp, remote: addr("192.0.2.9:5062") };
    assert_eq!(out.fallback, Some(expected));
    bed.table.handle_send_failure(out.token);
    assert!(matches!(bed.events()[..], [Event::ServerTransportError { .. }]));
    bed.assert_clean();
}

#[test]
fn s18_2_2_so_does_one_whose_transaction_has_ended_with_it() {
    let mut bed = Bed::new(Protocol::Tcp);
    let (id, request) = bed.server(&request("OPTIONS", "z9hG4bK1"));
    bed.respond(id, &request, StatusCode::OK);
    let out = std::iter::from_fn(|| bed.table.poll_transmit()).last().unwrap();
    let expected = Destination::Address { protocol: Protocol::Tcp, remote: addr("192.0.2.9:5062") };
    assert_eq!((out.fallback, bed.table.stats().current), (Some(expected), 0));
}

#[test]
fn s17_1_4_a_request_that_cannot_be_sent_ends_at_once() {
    for method in ["INVITE", "OPTIONS"] {
        let mut bed = Bed::new(Protocol::Tcp);
        bed.client(&request(method, "z9hG4bK1"));
        let token = bed.table.poll_transmit().unwrap().token;
        bed.table.handle_send_failure(token);
        assert!(matches!(bed.events()[..], [Event::TransportError { .. }, Event::ClientTerminated { .. }]));
        bed.table.handle_send_failure(token);
        bed.table.handle_send_failure(SendToken(0));
        assert!(bed.events().is_empty(), "a stale token names nothing");
        bed.assert_clean();
    }
}

#[test]
fn a_closed_connection_ends_the_requests_that_wait_on_it() {
    let mut bed = Bed::new(Protocol::Wss);
    bed.client(&request("OPTIONS", "z9hG4bK1"));
    bed.client(&request("INVITE", "z9hG4bK2"));
    bed.table.handle_flow_closed(ConnectionId(6));
    assert!(bed.events().is_empty());
    bed.table.handle_flow_closed(ConnectionId(7));
    assert_eq!(bed.events().iter().filter(|event| matches!(event, Event::TransportError { .. })).count(), 2);
    bed.assert_clean();
}
