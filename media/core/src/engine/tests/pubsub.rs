//! Publishers, subscribers and connected ends: who hears whom, in which format, and what is left when they go.

use std::time::Duration;

use super::bed::settings;
use super::mirror::{A, B, Ng, Sent, context, rtp, sdp, unprotect};
use crate::command::{
    Cause, Command, Connect, Delete, Exchange, Reply, Subscription, TransportProtocol, Unsubscribe,
};
use crate::sdp::{Description, Direction};

const C: &str = "198.51.100.3:6000";
const D: &str = "198.51.100.4:7000";

fn request(wish: impl FnOnce(&mut Exchange)) -> Box<Exchange> {
    let mut exchange = Exchange { call_id: "ng".to_owned(), ..Exchange::default() };
    exchange.flags.trust_address = true;
    wish(&mut exchange);
    Box::new(exchange)
}

fn subscribe(ng: &mut Ng, wish: impl FnOnce(&mut Exchange)) -> (Subscription, Description) {
    match ng.engine.handle_command(ng.now, &Command::SubscribeRequest(request(wish))) {
        Reply::Subscription(it) => {
            let description = Description::parse(it.sdp.clone()).expect("SDP");
            (*it, description)
        }
        other => panic!("no subscription: {other:?}"),
    }
}

fn answer(ng: &mut Ng, tag: &str, sdp: &str, wish: impl FnOnce(&mut Exchange)) -> Reply {
    let exchange = request(|it| {
        it.to_tag = Some(tag.to_owned());
        it.sdp = sdp.to_owned().into_bytes().into();
        wish(it);
    });
    ng.engine.handle_command(ng.now, &Command::SubscribeAnswer(exchange))
}

/// Somebody at `end` hears `tag`; our port towards it.
fn listen(ng: &mut Ng, tag: &str, end: &'static str, wish: impl FnOnce(&mut Exchange)) -> (String, u16) {
    let (it, offer) = subscribe(ng, |it| {
        it.from_tag = tag.to_owned();
        wish(it);
    });
    let done = answer(ng, &it.to_tag, &sdp(end, "RTP/AVP", "a=recvonly\n"), |_| {});
    assert!(matches!(done, Reply::Done { .. }), "{done:?}");
    ng.ports.insert(end, offer.media[0].port);
    (it.to_tag, offer.media[0].port)
}

/// To whom packets went, in the order of the ends' names.
fn heard(sent: &[Sent]) -> Vec<String> {
    let mut to: Vec<String> = sent.iter().map(|(_, to, _)| to.to_string()).collect();
    to.sort();
    to
}

fn plain_call(ng: &mut Ng) {
    ng.call([&sdp(A, "RTP/AVP", ""), &sdp(B, "RTP/AVP", "")], |_| {});
}

#[test]
fn a_subscriber_hears_copies_and_is_not_heard() {
    let mut ng = Ng::new(settings());
    plain_call(&mut ng);
    listen(&mut ng, "a", C, |_| {});
    let packet = rtp(0, 7);
    let sent = ng.say(A, &packet);
    assert_eq!(heard(&sent), [C, B]);
    assert!(sent.iter().all(|(_, _, octets)| *octets == packet), "one for one");
    assert_eq!(heard(&ng.say(B, &packet)), [A]);
    assert_eq!(ng.say(C, &packet), []);

    // Reports of whom it hears reach it, its own reach nobody.
    let report = [0x80, 201, 0, 1, 0, 0, 0x12, 0x34];
    let port = |ng: &Ng, end| ng.ports[end] + 1;
    let from = |end: &str| {
        let (ip, port) = end.rsplit_once(':').unwrap();
        format!("{ip}:{}", port.parse::<u16>().unwrap() + 1)
    };
    let rtcp = |ng: &mut Ng, end: &'static str| {
        let sent = ng.send(port(ng, end), from(end).parse().unwrap(), &report);
        heard(&sent)
    };
    assert_eq!(rtcp(&mut ng, A), [from(C), from(B)]);
    assert_eq!(rtcp(&mut ng, B), [from(A)]);
    assert_eq!(rtcp(&mut ng, C), [""; 0]);
    listen(&mut ng, "a", D, |it| it.flags.rtcp_mirror = true);
    assert_eq!(rtcp(&mut ng, D), [from(A)]);
    assert_eq!(heard(&ng.say(B, &packet)), [A], "a subscriber that reports is no speaker");
}

#[test]
fn what_a_subscription_hears_follows_the_call() {
    let mut ng = Ng::new(settings());
    plain_call(&mut ng);
    let (tag, port) = listen(&mut ng, "a", C, |_| {});
    ng.exchange(true, B, &sdp(A, "RTP/AVP", "a=recvonly\n"), |_| {});
    ng.exchange(false, A, &sdp(B, "RTP/AVP", "a=sendonly\n"), |_| {});
    assert_eq!(ng.say(A, &rtp(0, 1)), []);
    let (again, offer) = subscribe(&mut ng, |it| {
        (it.from_tag, it.to_tag) = ("a".to_owned(), Some(tag.clone()));
    });
    assert_eq!((again.to_tag, offer.media[0].port), (tag, port), "the same subscription");
    assert_eq!(offer.media[0].direction, Direction::Inactive);
    plain_call(&mut ng);
    assert_eq!(heard(&ng.say(A, &rtp(0, 2))), [C, B], "the answer it gave still holds");
}

#[test]
fn all_ends_for_a_recorder() {
    let mut ng = Ng::new(settings());
    plain_call(&mut ng);
    let (it, offer) = subscribe(&mut ng, |it| (it.flags.all, it.flags.siprec) = (true, true));
    let tags: Vec<&str> = it.sources.iter().map(|source| source.tag.as_str()).collect();
    assert_eq!(tags, ["a", "b"]);
    let text = String::from_utf8(it.sdp.to_vec()).unwrap();
    for source in &it.sources {
        assert!(
            text.contains(&format!("a=label:{}\r\n", source.medias[0].label.as_ref().unwrap())),
            "{text}"
        );
    }
    assert!(text.contains("\r\ns=relay\r\n"), "a description of our own: {text}");
    assert!(offer.media.iter().all(|media| media.direction == Direction::SendOnly));
    let lines = sdp(C, "RTP/AVP", "a=recvonly\nm=audio 7000 RTP/AVP 0\na=recvonly\n");
    assert!(matches!(answer(&mut ng, &it.to_tag, &lines, |_| {}), Reply::Done { .. }));
    assert_eq!(heard(&ng.say(A, &rtp(0, 1))), [C, B]);
    assert_eq!(heard(&ng.say(B, &rtp(0, 1))), [A, "198.51.100.3:7000"]);
}

#[test]
fn other_formats_need_leave() {
    let mut ng = Ng::new(settings());
    plain_call(&mut ng);
    let (it, offer) = subscribe(&mut ng, |it| {
        it.from_tag = "a".to_owned();
        it.codec.transcode = vec!["PCMA".to_owned()];
    });
    assert_eq!(offer.media[0].formats, ["0", "8"]);
    let alaw = sdp(C, "RTP/AVP", "a=recvonly\n").replace("RTP/AVP 0", "RTP/AVP 8");
    let refused = answer(&mut ng, &it.to_tag, &alaw, |_| {});
    assert!(matches!(refused, Reply::Error(failure) if failure.cause == Cause::NotAcceptable));
    assert_eq!(heard(&ng.say(A, &rtp(0, 1))), [B], "nothing came of it");
    answer(&mut ng, &it.to_tag, &alaw, |it| it.flags.allow_transcoding = true);
    let sent = ng.say(A, &rtp(0, 2));
    assert_eq!(heard(&sent), [C, B]);
    let made = sent.iter().find(|(_, to, _)| to.to_string() == C).map(|(_, _, octets)| octets[1] & 0x7f);
    assert_eq!(made, Some(8));
}

#[test]
fn a_subscriber_gets_keys_of_its_own() {
    let keys = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\n";
    let mut ng = Ng::new(settings());
    ng.call([&sdp(A, "RTP/SAVP", keys), &sdp(B, "RTP/AVP", "")], |it| {
        it.transport_protocol = Some(TransportProtocol::RtpAvp);
    });
    let (it, offer) = subscribe(&mut ng, |it| {
        it.from_tag = "b".to_owned();
        it.transport_protocol = Some(TransportProtocol::RtpSavp);
        it.sdes.only = vec!["AES_CM_128_HMAC_SHA1_80".to_owned()];
    });
    let [ours] = offer.media[0].crypto.as_slice() else { panic!("one suite: {offer:?}") };
    assert!(!keys.contains(&ours.key));
    let theirs = "WnD7c1ksDGs+dIefCEo8omPg4uO8DYIinNGL5yxQ";
    let lines = format!("a=crypto:{} {} inline:{theirs}\na=recvonly\n", ours.tag, ours.suite);
    assert!(matches!(answer(&mut ng, &it.to_tag, &sdp(C, "RTP/SAVP", &lines), |_| {}), Reply::Done { .. }));
    let sent = ng.say(B, &rtp(0, 3));
    let copy = sent.iter().find(|(_, to, _)| to.to_string() == C).expect("a copy");
    assert_eq!(unprotect(&mut context(theirs, ours), &copy.2), rtp(0, 3));
}

#[test]
fn what_is_published_is_heard_by_all_who_ask() {
    let mut ng = Ng::new(settings());
    let sockets = ng.sockets.open_count();
    let offer =
        sdp(A, "RTP/AVP", "a=rtpmap:96 moon/8000\na=sendonly\n").replace("RTP/AVP 0", "RTP/AVP 96 8 0");
    let publish = request(|it| {
        it.from_tag = "a".to_owned();
        it.sdp = offer.into_bytes().into();
    });
    let Reply::Sdp { sdp: ours, .. } = ng.engine.handle_command(ng.now, &Command::Publish(publish)) else {
        panic!("no answer")
    };
    let ours = Description::parse(ours).unwrap();
    assert_eq!(
        (ours.media[0].formats.join(" ").as_str(), ours.media[0].direction),
        ("8", Direction::RecvOnly)
    );
    ng.ports.insert(A, ours.media[0].port);
    assert_eq!(ng.say(A, &rtp(8, 1)), []);
    let alaw = |end| sdp(end, "RTP/AVP", "a=recvonly\n").replace("RTP/AVP 0", "RTP/AVP 8");
    let mut tags = Vec::new();
    for end in [C, D] {
        let (it, _) = subscribe(&mut ng, |it| it.from_tag = "a".to_owned());
        answer(&mut ng, &it.to_tag, &alaw(end), |_| {});
        tags.push(it.to_tag);
    }
    assert_ne!(tags[0], tags[1]);
    assert_eq!(heard(&ng.say(A, &rtp(8, 2))), [C, D]);
    let unsubscribe = |to_tag: &str| {
        Command::Unsubscribe(Unsubscribe {
            call_id: "ng".to_owned(),
            to_tag: to_tag.to_owned(),
            warnings: Vec::new(),
        })
    };
    let open = ng.sockets.open_count();
    assert!(matches!(ng.engine.handle_command(ng.now, &unsubscribe(&tags[0])), Reply::Done { .. }));
    assert!(matches!(ng.engine.handle_command(ng.now, &unsubscribe(&tags[0])), Reply::Error(_)));
    assert_eq!(ng.sockets.open_count(), open - 2);
    assert_eq!(heard(&ng.say(A, &rtp(8, 3))), [D]);
    // Nobody is left who could be heard when the publisher goes.
    let delete = Delete { call_id: "ng".to_owned(), from_tag: Some("a".to_owned()), ..Delete::default() };
    ng.engine.handle_command(ng.now, &Command::Delete(delete));
    assert_eq!((ng.engine.call_count(), ng.sockets.open_count()), (0, sockets));
}

#[test]
fn a_publication_without_a_usable_format_is_refused_and_leaves_nothing() {
    let mut ng = Ng::new(settings());
    let sockets = ng.sockets.open_count();
    let offer = sdp(A, "RTP/AVP", "a=rtpmap:96 moon/8000\n").replace("RTP/AVP 0", "RTP/AVP 96");
    let publish = |accept: &[&str]| {
        Command::Publish(request(|it| {
            it.from_tag = "a".to_owned();
            it.sdp = offer.clone().into_bytes().into();
            it.codec.accept = accept.iter().map(|name| (*name).to_owned()).collect();
        }))
    };
    assert!(matches!(ng.engine.handle_command(ng.now, &publish(&[])), Reply::Error(_)));
    assert_eq!((ng.engine.call_count(), ng.sockets.open_count()), (0, sockets));
    assert!(matches!(ng.engine.handle_command(ng.now, &publish(&["any"])), Reply::Sdp { .. }));
}

#[test]
fn a_subscriber_hears_a_forked_call() {
    let mut ng = Ng::new(settings());
    for (tag, branch, end) in [("b", "1", B), ("d", "2", D)] {
        ng.exchange(true, end, &sdp(A, "RTP/AVP", ""), |it| it.via_branch = Some(branch.to_owned()));
        ng.exchange(false, A, &sdp(end, "RTP/AVP", ""), |it| {
            (it.via_branch, it.to_tag) = (Some(branch.to_owned()), Some(tag.to_owned()));
        });
    }
    listen(&mut ng, "a", C, |_| {});
    ng.say(D, &rtp(0, 1));
    assert_eq!(heard(&ng.say(A, &rtp(0, 1))), [C, D], "the branch that is heard, and the subscriber");
}

#[test]
fn connected_ends_talk_to_each_other_alone() {
    let mut ng = Ng::new(settings());
    for (tag, branch, end) in [("b", "1", B), ("d", "2", D)] {
        ng.exchange(true, end, &sdp(A, "RTP/AVP", ""), |it| it.via_branch = Some(branch.to_owned()));
        ng.exchange(false, A, &sdp(end, "RTP/AVP", ""), |it| {
            (it.via_branch, it.to_tag) = (Some(branch.to_owned()), Some(tag.to_owned()));
        });
    }
    let connect = |to_tag: &str| {
        Command::Connect(Connect {
            call_id: "ng".to_owned(),
            from_tag: "b".to_owned(),
            to_tag: to_tag.to_owned(),
            warnings: Vec::new(),
        })
    };
    assert!(matches!(ng.engine.handle_command(ng.now, &connect("x")), Reply::Error(_)));
    assert!(matches!(ng.engine.handle_command(ng.now, &connect("b")), Reply::Error(_)));
    assert!(matches!(ng.engine.handle_command(ng.now, &connect("d")), Reply::Done { .. }));
    assert_eq!(heard(&ng.say(B, &rtp(0, 1))), [D]);
    assert_eq!(heard(&ng.say(D, &rtp(0, 1))), [B]);
    assert_eq!(ng.say(A, &rtp(0, 1)), []);
}

#[test]
fn a_call_has_a_bounded_number_of_subscribers() {
    let mut ng = Ng::new(settings());
    plain_call(&mut ng);
    let sockets = ng.sockets.open_count();
    let request = request(|it| it.from_tag = "a".to_owned());
    let mut count = 0;
    while let Reply::Subscription(_) =
        ng.engine.handle_command(ng.now, &Command::SubscribeRequest(request.clone()))
    {
        count += 1;
        assert!(count < 1000);
    }
    assert!(count >= 32, "{count}");
    ng.engine
        .handle_command(ng.now, &Command::Delete(Delete { call_id: "ng".to_owned(), ..Delete::default() }));
    ng.pass(Duration::from_secs(1));
    assert!(ng.sockets.open_count() < sockets && ng.engine.call_count() == 0);
}
