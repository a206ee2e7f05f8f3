//! Five times the calls that a worker can carry, in virtual time: each message costs it something, and what comes meanwhile waits
//! in the two lines of the shell's mailbox, that of calls and that of everything else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use signaling_core::flow::{Flow, Inbound};
use signaling_core::message::peek_continues;
use signaling_core::settings::{Pike, Settings};

use crate::testbed::{Bed, Dialog, Phone, Sip, ack_of, legacy_sdp, settings};

/// What a call costs at its beginning, and each of its other messages: 200 calls a second are all that can be done.
const BEGIN: Duration = Duration::from_micros(3000);
const MESSAGE: Duration = Duration::from_micros(500);
/// A refusal, and what is absorbed without a thought.
const LITTLE: Duration = Duration::from_micros(250);
/// How long there are five times as many, and when all has to be as ever.
const FLOOD: Duration = Duration::from_secs(8);
const NORMAL: Duration = Duration::from_secs(13);
const END: Duration = Duration::from_secs(18);
/// How long people talk.
const TALK: Duration = Duration::from_secs(2);
/// One message of new things after so many of calls, as in the shell's worker.
const TURN: usize = 4;

struct Attempt {
    invite: String,
    begun: Duration,
    /// Whether anything was heard, so that the INVITE is not repeated.
    heard: bool,
    refused: bool,
    /// When it was answered.
    answered: Option<Duration>,
    /// Whether the BYE was answered.
    ended: bool,
}

enum Due {
    Arrives(Flow, String),
    Repeats(usize, u32),
}

struct Load {
    bed: Bed,
    caller: Phone,
    bob: Phone,
    attempts: Vec<Attempt>,
    due: BTreeMap<(Duration, usize), Due>,
    lines: [VecDeque<(Duration, Flow, String)>; 2],
    serial: usize,
    turn: usize,
}

impl Load {
    fn plan(&mut self, at: Duration, due: Due) {
        self.serial += 1;
        self.due.insert((at, self.serial), due);
    }

    fn join(&mut self, at: Duration, flow: Flow, text: String) {
        let line = usize::from(!peek_continues(text.as_bytes()));
        self.lines[line].push_back((at, flow, text));
    }

    /// What has arrived by now.
    fn arrive(&mut self) {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.bed.elapsed()) {
            let ((at, _), due) = entry.remove_entry();
            match due {
                Due::Arrives(flow, text) => self.join(at, flow, text),
                Due::Repeats(number, times) if !self.attempts[number].heard => {
                    let text = self.attempts[number].invite.clone();
                    self.join(at, self.caller.flow, text);
                    self.plan(
                        at + Duration::from_millis(500 << times.min(6)),
                        Due::Repeats(number, times + 1),
                    );
                }
                Due::Repeats(..) => {}
            }
        }
    }

    /// Serves one message; `false` when nothing will come any more.
    fn serve(&mut self) -> bool {
        self.arrive();
        let first = usize::from(self.turn % TURN == TURN - 1);
        self.turn += 1;
        let next =
            [first, 1 - first].into_iter().find_map(|line| Some((line, self.lines[line].pop_front()?)));
        let Some((line, (at, flow, text))) = next else {
            let Some((&(at, _), _)) = self.due.first_key_value() else { return false };
            self.bed.advance(at - self.bed.elapsed());
            return true;
        };
        let (begun, inbound) = (self.bed.proxy.stats().calls, Inbound { flow, bytes: Bytes::from(text) });
        let (now, waited) = (self.bed.now, self.bed.elapsed() - at);
        match line {
            0 => self.bed.proxy.handle_inbound(now, inbound),
            _ => self.bed.proxy.handle_delayed(now, waited, inbound),
        }
        self.bed.drain();
        let begins = self.bed.proxy.stats().calls > begun;
        // An ACK to what was refused without a transaction goes nowhere.
        let goes_on = line == 0 && self.bed.is_anything_sent();
        self.bed.advance(if begins {
            BEGIN
        } else if goes_on {
            MESSAGE
        } else {
            LITTLE
        });
        self.hear();
        true
    }

    /// What the phones make of what they are sent.
    fn hear(&mut self) {
        let now = self.bed.elapsed();
        while let Some(request) = self.bed.try_receive(&self.bob.flow.clone()) {
            if matches!(request.method(), "INVITE" | "BYE") {
                let body = if request.method() == "INVITE" { legacy_sdp("bob") } else { String::new() };
                let reply = self.bob.reply(&request, 200, "OK", &body);
                self.plan(now, Due::Arrives(self.bob.flow, reply));
            }
        }
        while let Some(reply) = self.bed.try_receive(&self.caller.flow.clone()) {
            let number: usize = reply.header("Call-ID").parse().expect("a number");
            let bye = reply.header("CSeq").ends_with("BYE");
            let attempt = &mut self.attempts[number];
            attempt.heard = true;
            match reply.code() {
                200 if bye => attempt.ended = true,
                200 if attempt.answered.is_none() => {
                    attempt.answered = Some(now);
                    self.talk(number, &reply);
                }
                503 => {
                    attempt.refused = true;
                    let ack = ack_of(&attempt.invite, &reply);
                    self.plan(now, Due::Arrives(self.caller.flow, ack));
                }
                _ => {}
            }
        }
    }

    fn talk(&mut self, number: usize, answer: &Sip) {
        let invite = Sip { text: self.attempts[number].invite.clone() };
        let mut dialog = Dialog::of_caller(&invite, answer);
        let now = self.bed.elapsed();
        for (at, method) in [(now, "ACK"), (now + TALK, "BYE")] {
            let request = dialog.request(&mut self.caller, method, "", "");
            self.plan(at, Due::Arrives(self.caller.flow, request));
        }
    }
}

#[test]
fn calls_that_are_accepted_complete_and_are_as_many_as_there_is_time_for() {
    // All of it comes from one address here.
    let pike = Pike { reqs_density_per_unit: 0, ..Pike::default() };
    let mut bed = Bed::with(&["bob"], Settings { pike, ..settings() }, Vec::new());
    let caller = Phone::legacy(&mut bed, "load", "198.51.100.99:5060");
    let mut bob = Phone::legacy(&mut bed, "bob", "198.51.100.2:5060");
    bob.register(&mut bed);
    let (lines, due) = (Default::default(), BTreeMap::new());
    let mut load = Load { bed, caller, bob, attempts: Vec::new(), due, lines, serial: 0, turn: 0 };
    let mut begun = Duration::ZERO;
    while begun < END {
        let number = load.attempts.len();
        let more = format!("Contact: <{}>\r\n", load.caller.contact);
        let invite =
            load.caller.request("INVITE", &load.bob.aor(), &number.to_string(), &more, &legacy_sdp("a"));
        let invite = invite.replace("sip:load@sip.example", "sip:load@evil.example");
        load.attempts.push(Attempt {
            invite,
            begun,
            heard: false,
            refused: false,
            answered: None,
            ended: false,
        });
        load.plan(begun, Due::Repeats(number, 0));
        begun += Duration::from_millis(if begun < FLOOD { 1 } else { 10 });
    }
    while load.serve() {}

    let in_flood = load.attempts.iter().filter(|attempt| attempt.begun < FLOOD);
    let accepted = in_flood.clone().filter(|attempt| attempt.answered.is_some()).count();
    let refused = in_flood.clone().filter(|attempt| attempt.refused).count();
    // Each second 1000 are asked for. With a refusal and its ACK for each of the others there is time for 111 calls.
    assert!(accepted > 8 * 100, "{accepted} accepted, {refused} refused");
    for attempt in &load.attempts {
        assert!(attempt.answered.is_some() != attempt.refused, "{:?}: neither, or both", attempt.begun);
        assert!(attempt.answered.is_none() || attempt.ended, "{:?}: no end", attempt.begun);
        let took = attempt.answered.map(|at| at - attempt.begun);
        assert!(
            attempt.begun < NORMAL || took.is_some_and(|took| took < Duration::from_millis(500)),
            "{:?}: {took:?}",
            attempt.begun
        );
    }
    load.bed.advance(Duration::from_secs(60));
    assert!(load.bed.media.is_clean());
    assert_eq!(load.bed.proxy.transaction_stats().current, 0);
}
