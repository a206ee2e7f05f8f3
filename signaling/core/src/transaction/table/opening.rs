//! What a request begins before anything is kept of it: most requests other than INVITE are answered at once, and of them nothing is
//! kept but their answer, or not even that.

use std::time::Instant;

use super::{Answer, Entry, Key, Machine, SentBy, Server, Table, response_destination, sent_by};
use crate::flow::{Destination, Flow, Outbound, SendToken};
use crate::message::{Request, Response};
use crate::transaction::ServerId;

/// A request that belongs to nothing that is here. Whoever has it makes a transaction of it ([`Table::begin`]) or answers it.
#[derive(Debug)]
pub struct Opening {
    key: Key,
    reliable: bool,
    destination: Destination,
    fallback: Option<Destination>,
    sent_by: Option<Box<SentBy>>,
    /// Bytes of the request.
    size: usize,
}

impl Opening {
    pub(super) const fn reliable(&self) -> bool {
        self.reliable
    }
}

impl Table {
    /// Takes a request other than ACK that came over `flow`, and notes its source in its Via. Retransmissions are absorbed and
    /// answered, and what there is no room for is refused: `None`.
    pub fn open(&mut self, now: Instant, flow: &Flow, request: &mut Request) -> Option<Opening> {
        // The key is taken before the Via is stamped, whose text is part of it for RFC 2543 clients. Parsing refused
        // what could fail here; dropping it is the safe answer all the same.
        let via = request.top_via().ok()?;
        let key = self.keys.server_by(&via, request, request.method(), request.to_tag()).ok()?;
        if let Some(&id) = self.servers.get(&key) {
            self.handle_retransmission(now, id);
            return None;
        }
        if let Some(Answer { bytes, destination }) = self.answered.get(&key) {
            self.stats.retransmissions += 1;
            self.stats.rpl_sent += 1;
            let (destination, bytes) = (*destination, bytes.clone());
            self.send(destination, bytes);
            return None;
        }
        let (destination, fallback) = response_destination(flow, &via, self.config.force_rport);
        let (reliable, sent_by) = (flow.protocol.is_reliable(), sent_by(flow, &via));
        if let Some(stamped) = via.stamped(flow.remote, self.config.force_rport) {
            request.put_stamp(stamped);
        }
        let size = request.written_len();
        if self.is_full(size) {
            self.turn_away(flow, request);
            return None;
        }
        Some(Opening { key, reliable, destination, fallback, sent_by, size })
    }

    /// Makes the transaction of a request other than INVITE.
    pub fn begin(&mut self, now: Instant, opening: Opening) -> ServerId {
        let machine = Server::start(opening.reliable, &self.config.timers, &mut self.effects);
        self.insert_server(now, opening, Machine::Server(machine), None)
    }

    /// Keeps a transaction whose `machine` has said what it wants.
    pub(super) fn insert_server(
        &mut self,
        now: Instant,
        opening: Opening,
        machine: Machine,
        merge_key: Option<Key>,
    ) -> ServerId {
        let Opening { key, destination, fallback, sent_by, size, .. } = opening;
        let id = self.insert(Entry {
            id: 0,
            machine,
            destination,
            fallback,
            sent_by,
            key,
            merge_key,
            response_tag: None,
            silent: false,
            branch: false,
            answered: false,
            size,
            deadlines: Vec::with_capacity(3),
        });
        self.servers.insert(key, id);
        self.apply(now, id);
        ServerId(id)
    }

    /// Gives a request other than INVITE its final response: what [`Table::begin`] and [`Table::respond`] come to, without what
    /// would be there between them.
    pub fn answer(&mut self, now: Instant, opening: Opening, response: &Response) {
        let bytes = response.to_bytes();
        self.stats.created += 1;
        self.stats.total += 1;
        self.stats.freed += 1;
        if let Some(class) = usize::from(response.status().class()).checked_sub(2) {
            self.stats.answered[class] += 1;
        }
        if !opening.reliable {
            let answer = Answer { bytes: bytes.clone(), destination: opening.destination };
            self.keep_answer(now, opening.key, answer);
        }
        self.say(opening, bytes);
    }

    /// Gives it a final response of which nothing is kept: each copy of the request is a request of its own, and is to have the
    /// same answer (RFC 3261 §8.2.7, §26.3.2.4).
    pub fn answer_stateless(&mut self, opening: Opening, response: &Response) {
        self.say(opening, response.to_bytes());
    }

    fn say(&mut self, opening: Opening, bytes: bytes::Bytes) {
        self.stats.rpl_sent += 1;
        let Opening { destination, fallback, .. } = opening;
        self.transmits.push_back(Outbound { destination, fallback, bytes, token: SendToken(0) });
    }
}
