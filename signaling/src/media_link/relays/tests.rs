//! The relays of a gateway, with scripted ones in their place.

use std::net::SocketAddr;

use signaling_core::outside::{Keys, LegKind, MediaLeg};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::*;
use crate::config::RelayNode;

/// A relay that does as it is told: it answers what `script` says, and tells which commands came.
struct Scripted {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<String>,
    silent: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Script = fn(&str) -> Option<&'static str>;

const SDP: &str = "d6:result2:ok3:sdp5:v=0\r\ne";
const FULL: &str = "d12:error-reason16:ran out of ports6:result5:errore";
const BAD: &str = "d12:error-reason7:bad SDP6:result5:errore";

const COMMANDS: [&str; 8] =
    ["offer", "answer", "delete", "ping", "query", "play media", "stop media", "start recording"];

fn willing(command: &str) -> Option<&'static str> {
    Some(if command == "ping" { "d6:result4:ponge" } else { SDP })
}

fn forgetful(command: &str) -> Option<&'static str> {
    if command == "query" {
        Some("d12:error-reason15:Unknown call-id6:result5:errore")
    } else {
        willing(command)
    }
}

async fn scripted(script: Script) -> Scripted {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = Arc::<AtomicBool>::default();
    let quiet = Arc::clone(&silent);
    let (sender, heard) = mpsc::unbounded_channel();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (cookie, message) = text.split_once(' ').unwrap();
            let command =
                COMMANDS.iter().find(|word| message.contains(&format!("7:command{}:{word}", word.len())));
            let command = *command.unwrap();
            // The test may be over.
            let _ = sender.send(command.to_owned());
            if let Some(reply) = script(command).filter(|_| !quiet.load(Ordering::Relaxed)) {
                socket.send_to(format!("{cookie} {reply}").as_bytes(), from).await.unwrap();
            }
        }
    });
    Scripted { address, heard, silent, task }
}

fn settings(nodes: &[(&Scripted, u32, u32)]) -> RelaySettings {
    let node = |(relay, set, weight): &(&Scripted, u32, u32)| RelayNode {
        set: *set,
        place: RelayPlace::Ng(relay.address),
        weight: *weight,
    };
    RelaySettings {
        nodes: nodes.iter().map(node).collect(),
        setid_default: 0,
        rtpengine_disable_tout: Duration::from_secs(3600),
        // Six seconds in all, for a machine that is busy.
        rtpengine_tout: Duration::from_secs(8),
        rtpengine_retr: 2,
        queried_nodes_limit: 50,
        rtpengine_allow_op: false,
        ping_interval: Duration::ZERO,
        sounds: RelaySounds::Auto,
    }
}

fn start(settings: &RelaySettings) -> Relays {
    Relays::start(settings, || anyhow::bail!("there is none in this process")).unwrap()
}

fn exchange(call_id: &str) -> MediaExchange {
    let leg = MediaLeg {
        kind: LegKind::Legacy,
        local: [127, 0, 0, 1].into(),
        signalling_source: None,
        keys: Keys::Agreed,
    };
    MediaExchange {
        call_id: call_id.to_owned(),
        offerer_tag: "a".to_owned(),
        answerer_tag: Some("b".to_owned()),
        branch: None,
        from: leg,
        to: leg,
        sdp: Bytes::from_static(b"v=0\r\n"),
    }
}

/// Whether `relay` has heard the command by now.
fn heard(relay: &mut Scripted, command: &str) -> bool {
    std::iter::from_fn(|| relay.heard.try_recv().ok()).any(|heard| heard == command)
}

#[tokio::test]
async fn calls_are_spread_by_weight_and_stay() {
    let (mut heavy, mut light) = (scripted(willing).await, scripted(willing).await);
    let relays = start(&settings(&[(&heavy, 0, 3), (&light, 0, 1)]));
    let mut counts = [0, 0];
    for n in 0..200 {
        let call = format!("call-{n}@host");
        relays.offer(exchange(&call)).await.unwrap();
        let at = usize::from(!heard(&mut heavy, "offer"));
        counts[at] += 1;
        assert_eq!(heard(&mut light, "offer"), at == 1);
        relays.answer(exchange(&call)).await.unwrap();
        assert_eq!([heard(&mut heavy, "answer"), heard(&mut light, "answer")], [at == 0, at == 1]);
    }
    assert!((130..=170).contains(&counts[0]), "three of four go there: {counts:?}");
    let placed = || relays.inner.placed.each().map(|part| part.len()).sum::<usize>();
    assert_eq!(placed(), 200);
    relays.delete("call-0@host", "a", None);
    assert_eq!(placed(), 199);
}

#[tokio::test]
async fn one_that_is_silent_is_left_alone_and_its_calls_move() {
    let (silent, mut other) = (scripted(|_| None).await, scripted(willing).await);
    let relays = start(&settings(&[(&silent, 0, 1000), (&other, 0, 0)]));
    let (sender, mut lost) = mpsc::unbounded_channel();
    relays.watch(move |call| _ = sender.send(call));
    relays.inner.place(&exchange("earlier"), 0);
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut other, "offer"));
    assert_eq!([relays.inner.nodes[0].is_enabled(), relays.inner.nodes[1].is_enabled()], [false, true]);
    assert_eq!(lost.recv().await.as_deref(), Some("earlier"));
    // It is not asked any more, and its call begins anew at the other one; an answer has no choice.
    let mut silent = silent;
    while silent.heard.try_recv().is_ok() {}
    relays.offer(exchange("earlier")).await.unwrap();
    relays.answer(exchange("earlier")).await.unwrap();
    let told: Vec<String> = std::iter::from_fn(|| silent.heard.try_recv().ok()).collect();
    assert!(told.iter().all(|command| command == "delete") && heard(&mut other, "answer"), "{told:?}");
    relays.inner.place(&exchange("at-the-silent-one"), 0);
    let refused = relays.answer(exchange("at-the-silent-one")).await;
    assert!(matches!(refused, Err(MediaError::NoRelay(_))));
}

#[tokio::test]
async fn one_that_is_full_passes_the_call_on_and_a_bad_sdp_is_bad_everywhere() {
    let (mut full, mut other) = (scripted(|_| Some(FULL)).await, scripted(willing).await);
    let limits = settings(&[(&full, 0, 1000), (&other, 0, 0)]);
    let relays = start(&limits);
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut full, "offer") && heard(&mut other, "offer"));
    assert!(relays.inner.nodes[0].is_enabled(), "it is there");
    let relays = start(&RelaySettings { queried_nodes_limit: 1, ..limits });
    assert!(matches!(relays.offer(exchange("x")).await, Err(MediaError::Full(_))));
    assert!(heard(&mut full, "offer") && !heard(&mut other, "offer"));
    let bad = scripted(|_| Some(BAD)).await;
    let relays = start(&settings(&[(&bad, 0, 1000), (&other, 0, 0)]));
    assert!(matches!(relays.offer(exchange("x")).await, Err(MediaError::NotAcceptable(_))));
    assert!(!heard(&mut other, "offer"));
}

#[tokio::test]
async fn other_sets_are_for_when_none_of_the_set_is_left() {
    let (mut one, mut two) = (scripted(willing).await, scripted(willing).await);
    let both = settings(&[(&one, 1, 1), (&two, 2, 1)]);
    let relays = start(&RelaySettings { setid_default: 2, ..both });
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut two, "offer") && !heard(&mut one, "offer"));
    relays.inner.nodes[1].disable(Duration::from_secs(3600));
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut one, "offer") && !heard(&mut two, "offer"));
    // When nobody is left, one is asked all the same.
    relays.inner.nodes[0].disable(Duration::from_secs(3600));
    relays.delete("x", "a", None);
    relays.offer(exchange("y")).await.unwrap();
    assert!(heard(&mut two, "offer") && relays.inner.nodes[1].is_enabled());
}

#[tokio::test]
async fn a_disabled_relay_may_finish_its_calls() {
    let (mut one, mut two) = (scripted(willing).await, scripted(willing).await);
    let both = settings(&[(&one, 0, 1000), (&two, 0, 0)]);
    let relays = start(&RelaySettings { rtpengine_allow_op: true, ..both });
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut one, "offer"));
    relays.inner.nodes[0].disabled_until.swap(Some(Instant::now() + Duration::from_secs(3600)));
    relays.offer(exchange("y")).await.unwrap();
    assert!(heard(&mut two, "offer") && !heard(&mut one, "offer"));
    relays.offer(exchange("x")).await.unwrap();
    assert!(heard(&mut one, "offer"));
}

#[tokio::test]
async fn one_that_is_put_aside_gets_no_call() {
    let (mut first, mut second) = (scripted(willing).await, scripted(willing).await);
    let relays = start(&settings(&[(&first, 0, 1), (&second, 0, 1)]));
    let names: Vec<String> = relays.status().into_iter().map(|relay| relay.url).collect();
    relays.put_aside(&names[0], true);
    for number in 0..20 {
        relays.offer(exchange(&format!("call-{number}"))).await.unwrap();
        assert!(heard(&mut second, "offer") && !heard(&mut first, "offer"));
    }
    assert!(relays.ping(&names[0]).await, "it answers");
    assert!(relays.status()[0].put_aside, "and is left alone");
    relays.put_aside(&names[1], true);
    let refused = relays.offer(exchange("call-20")).await;
    assert!(matches!(refused, Err(MediaError::NoRelay(_))), "{refused:?}");
    relays.put_aside(&names[0], false);
    relays.offer(exchange("call-21")).await.unwrap();
    assert!(heard(&mut first, "offer"));
}

#[tokio::test]
async fn pings_find_who_is_gone_and_who_is_back() {
    for (script, forgotten) in [(willing as Script, false), (forgetful, true)] {
        let (mut one, other) = (scripted(script).await, scripted(willing).await);
        let mut wanted = settings(&[(&one, 0, 1), (&other, 0, 0)]);
        (wanted.rtpengine_tout, wanted.ping_interval) = (Duration::from_secs(4), Duration::from_millis(20));
        let relays = start(&wanted);
        relays.inner.place(&exchange("x"), 0);
        let (sender, mut lost) = mpsc::unbounded_channel();
        relays.watch(move |call| _ = sender.send(call));
        assert_eq!(one.heard.recv().await.as_deref(), Some("ping"));
        one.silent.store(true, Ordering::Relaxed);
        assert_eq!(lost.recv().await.as_deref(), Some("x"), "its call is to move");
        let status = relays.status();
        assert_eq!(
            status.iter().map(|it| (it.disabled.is_some(), it.calls)).collect::<Vec<_>>(),
            [(true, 1), (false, 0)]
        );
        // Its calls have been told of; what is told of next belongs to its return.
        while relays.inner.nodes[0].moving.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while lost.try_recv().is_ok() {}
        one.silent.store(false, Ordering::Relaxed);
        while one.heard.recv().await.as_deref() != Some("query") {}
        assert!(relays.inner.nodes[0].is_enabled());
        if forgotten {
            assert_eq!(lost.recv().await.as_deref(), Some("x"), "it was restarted: the call begins anew");
        } else {
            while relays.inner.nodes[0].moving.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(lost.try_recv().is_err(), "it knows its call: that goes on");
        }
    }
}

#[tokio::test]
async fn what_is_done_to_a_call_is_done_where_it_is() {
    let (mut one, mut two) = (scripted(willing).await, scripted(willing).await);
    let relays = start(&settings(&[(&one, 0, 1000), (&two, 0, 0)]));
    relays.inner.place(&exchange("x"), 1);
    relays.play("x", "a", "/sounds/a.wav", true);
    relays.stop("x", "a");
    relays.record("x", "a");
    relays.delete("x", "a", Some("branch"));
    assert!(relays.end("x", "a").is_none(), "it has no report");
    let mut there = Vec::new();
    while there.len() < 5 {
        there.push(two.heard.recv().await.unwrap());
    }
    there.sort_unstable();
    assert_eq!(there, ["delete", "delete", "play media", "start recording", "stop media"]);
    assert!(one.heard.try_recv().is_err() && relays.inner.placed.each().all(|part| part.is_empty()));
    // A call that another one takes over is given back by the first.
    relays.inner.place(&exchange("y"), 0);
    relays.inner.place(&exchange("y"), 1);
    assert_eq!(one.heard.recv().await.as_deref(), Some("delete"));
}

#[tokio::test]
async fn when_no_relay_answers_calls_are_refused() {
    let (mut one, two) = (scripted(|_| None).await, scripted(|_| None).await);
    let both = settings(&[(&one, 0, 1000), (&two, 0, 0)]);
    let relays = start(&RelaySettings { rtpengine_tout: Duration::from_millis(40), ..both });
    for _ in 0..2 {
        assert!(matches!(relays.offer(exchange("x")).await, Err(MediaError::NoRelay(_))));
        assert!(relays.status().iter().all(|it| it.disabled.is_some()));
        assert!(relays.inner.none_left.load(Ordering::Relaxed) && heard(&mut one, "offer"), "it may be back");
    }
    // That it is there is known by its answer alone.
    relays.inner.answers(0);
    assert!(!relays.inner.none_left.load(Ordering::Relaxed) && relays.inner.nodes[0].is_enabled());
}
