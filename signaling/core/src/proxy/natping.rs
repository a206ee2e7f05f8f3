//! Asks phones on datagrams whether they are still there, which keeps the NAT before them open (Kamailio's nathelper).
//!
//! The question is an OPTIONS without a transaction: a lost one is made good by the next. Whom an answer is from stands
//! enciphered in the Call-ID, so that nothing is kept of a question and any worker understands the answer.

use super::Proxy;
use crate::flow::Destination;
use crate::location::Ping;
use crate::message::build::{self, NewRequest};
use crate::message::{Method, Response, Uri};

const LABEL: &str = "natping";

impl Proxy {
    /// Asks those whose turn it is, and gives up those who have been silent for too long.
    pub(super) fn natping(&mut self) {
        let now = self.world.now();
        if self.next_ping.is_some_and(|next| next <= now) || self.next_ping.is_none() {
            let nathelper = &self.world.settings.nathelper;
            let turn = self.world.location.turn_length(nathelper);
            self.next_ping = turn.map(|turn| now + turn);
            if turn.is_none() {
                return;
            }
            let (pings, gone) = self.world.location.take_turns(nathelper, self.world.unix_millis());
            for ping in &pings {
                self.ask(ping);
            }
            self.forget(gone);
        }
    }

    fn ask(&mut self, ping: &Ping) {
        let world = &self.world;
        let Ok(uri) = Uri::parse(ping.stored.contact()) else { return };
        let home = world.settings.domains.first().map_or("localhost", String::as_str);
        let pinger =
            || format!("sip:pinger@{}", if home.contains(':') { format!("[{home}]") } else { home.into() });
        let from = world.settings.nathelper.sipping_from.clone().unwrap_or_else(pinger);
        let from = format!("<{from}>;tag={}", world.tag());
        let protocol = ping.flow.protocol;
        let branch = world.with_rng(build::random_branch);
        let via = build::via(protocol, &world.sent_by(protocol, ping.flow.local), &branch);
        let call_id =
            world.settings.secret.wrap(LABEL, format!("{}\n{}", ping.stored.ruid(), ping.aor).as_bytes());
        let (uri, to) = (uri.as_request_uri(), format!("<{}>", ping.stored.contact()));
        let mut request = NewRequest::new(Method::Options, &uri, &via, &from, &to, &call_id, 1).build();
        world.sign(&mut request);
        world.stats.borrow_mut().natpings += 1;
        self.table.send(Destination::Flow(ping.flow), request.to_bytes());
    }

    /// Whether a response that belongs to no transaction answers a question of ours.
    pub(super) fn answers_ping(&self, response: &Response) -> bool {
        let ours = response.cseq().is_ok_and(|cseq| cseq.method() == Method::Options);
        let asked = || self.world.settings.secret.unwrap(LABEL, response.call_id());
        let Some(asked) = ours.then(asked).flatten().and_then(|asked| String::from_utf8(asked).ok()) else {
            return false;
        };
        if let Some((ruid, aor)) = asked.split_once('\n') {
            self.world.location.heard(aor, ruid, self.world.unix_now());
            self.world.stats.borrow_mut().natpings_answered += 1;
        }
        true
    }
}
