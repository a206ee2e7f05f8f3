//! Counters, a leaf. Those of transactions are in [`crate::transaction::Stats`].

use std::ops::AddAssign;

use crate::message::{Method, StatusCode};

macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$meaning])* pub $field: $kind,)*
        }

        impl AddAssign for $name {
            /// Adds what another worker has counted.
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
/// What a worker has counted since its start.
Stats {
    /// Messages received.
    received: u64,
    /// Messages too long, dropped before parsing.
    oversized: u64,
    /// Messages of sources that are not heard at all.
    denied: u64,
    /// Messages of sources that send too much, dropped before parsing.
    flooded: u64,
    /// Requests of scanners, dropped.
    scanners: u64,
    /// Requests with SQL in their headers, dropped.
    injections: u64,
    /// Messages that did not parse (Kamailio's `bad_msg_hdr`), answered where possible.
    malformed: u64,
    /// Keep-alives: messages of nothing but line ends.
    keepalives: u64,
    /// Responses that belong to no transaction, and ACKs that lead nowhere: dropped.
    strays: u64,
    /// Requests refused by a step.
    refused: u64,
    /// Answers that were not sent, because they were too long for what a stranger had sent.
    unamplified: u64,
    /// Requests sent over TCP because they are too long for a datagram.
    tcp_for_size: u64,
    /// Requests too long for a datagram that were sent in one all the same: IP fragments, which many networks lose.
    fragmented: u64,
    /// New requests refused with 503 for want of time or room.
    overload: u64,
    /// New calls refused with 503 because the gateway is draining.
    drained: u64,
    /// REGISTER requests answered with 200 (Kamailio's `accepted_regs`).
    accepted_regs: u64,
    /// REGISTER requests refused (Kamailio's `rejected_regs`).
    rejected_regs: u64,
    /// Contacts asked whether they are still there.
    natpings: u64,
    /// Their answers.
    natpings_answered: u64,
    /// Credentials refused.
    auth_failures: u64,
    /// Those of them that were not looked at, because there were too many before.
    auth_blocked: u64,
    /// Calls let through.
    calls: u64,
    /// Offers given to the relay.
    media_offers: u64,
    /// Offers and answers that no relay took, for want of room or of a relay, or because of what they say.
    media_refusals: u64,
    /// Calls whose callers were told in sound why they are refused.
    announcements: u64,
    /// Sessions and branches deleted at the relay.
    media_deletes: u64,
    /// Requests received, by method (Kamailio's `rcv_requests`).
    rcv_requests: Requests,
    /// Responses received, by code (Kamailio's `rcv_replies`).
    rcv_replies: Replies,
    /// Requests sent on, each branch counting (Kamailio's `fwd_requests`).
    fwd_requests: u64,
    /// Responses sent on (Kamailio's `fwd_replies`).
    fwd_replies: u64,
    /// Requests that did not parse, answered where possible (Kamailio's `err_requests`).
    err_requests: u64,
    /// Those of them whose URI was at fault (Kamailio's `bad_URIs_rcvd`).
    bad_uris: u64,
    /// Requests answered here and not relayed, by the code of the answer (Kamailio's `sl`).
    answered: Answers,
    /// Bindings that have run out.
    expired_contacts: u64,
    /// Calls that nobody has answered (Kamailio's `failed_dialogs`).
    failed_calls: u64,
    /// Answered calls that ended by themselves: no refresh, no media, no keep-alive, too long (Kamailio's
    /// `expired_dialogs`).
    expired_calls: u64,
    /// Calls refused because a limit was reached.
    limited_calls: u64,
    /// What the lists of the table `secfilter` have found.
    listed: Listed,
    /// Calls and messages refused for what they were for.
    barred: u64,
    /// Calls refused because a limit of the day was reached.
    toll_refused: u64,
    /// Calls ended for the same.
    toll_ended: u64,
}
}

/// A table of counters with a name for each.
macro_rules! table {
    ($(#[$about:meta])* $name:ident[$count:literal] $($text:literal)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name([u64; $count]);

        impl $name {
            /// What each of them counts.
            pub const NAMES: [&'static str; $count] = [$($text),*];

            /// The counters with their names.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                Self::NAMES.into_iter().zip(self.0)
            }

            /// The sum of those whose name fits.
            #[must_use]
            pub fn sum(&self, fits: impl Fn(&str) -> bool) -> u64 {
                self.each().filter(|(name, _)| fits(name)).map(|(_, count)| count).sum()
            }

            fn count(&mut self, name: &str) {
                if let Some(place) = Self::NAMES.iter().position(|known| *known == name) {
                    self.0[place] += 1;
                }
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
            }
        }
    };
}

table! {
    /// Requests by method, under Kamailio's names; those of methods that nobody has registered are `unsupported`.
    Requests[15]
    "ack" "bye" "cancel" "info" "invite" "message" "notify" "options" "prack" "publish" "refer" "register" "subscribe"
    "update" "unsupported"
}

impl Requests {
    /// Counts one.
    pub fn note(&mut self, method: &Method) {
        self.count(match method {
            Method::Ack => "ack",
            Method::Bye => "bye",
            Method::Cancel => "cancel",
            Method::Info => "info",
            Method::Invite => "invite",
            Method::Message => "message",
            Method::Notify => "notify",
            Method::Options => "options",
            Method::Prack => "prack",
            Method::Publish => "publish",
            Method::Refer => "refer",
            Method::Register => "register",
            Method::Subscribe => "subscribe",
            Method::Update => "update",
            Method::Other(_) => "unsupported",
        });
    }
}

table! {
    /// Responses by class and, those that tell something, by code: one of 486 counts as `486` and as `4xx`.
    Replies[12]
    "18x" "1xx" "2xx" "3xx" "401" "404" "407" "480" "486" "4xx" "5xx" "6xx"
}

impl Replies {
    /// Counts one.
    pub fn note(&mut self, status: StatusCode) {
        let code = match status.code() {
            180..=189 => Some("18x"),
            401 => Some("401"),
            404 => Some("404"),
            407 => Some("407"),
            480 => Some("480"),
            486 => Some("486"),
            _ => None,
        };
        code.into_iter().chain([class(status)]).for_each(|name| self.count(name));
    }
}

table! {
    /// Answers by code, as Kamailio's `sl.stats` has them: a class counts what of it has no counter of its own.
    Answers[19]
    "200" "202" "2xx" "300" "301" "302" "3xx" "400" "401" "403" "404" "407" "408" "483" "4xx" "500" "5xx" "6xx" "xxx"
}

impl Answers {
    /// Counts one.
    pub fn note(&mut self, status: StatusCode) {
        let digits = status.digits();
        let own = Self::NAMES.into_iter().find(|name| name.as_bytes() == digits);
        self.count(own.unwrap_or(if status.code() < 200 { "xxx" } else { class(status) }));
    }
}

table! {
    /// What was found on black lists (`bl`) and white ones (`wl`), by what was looked up.
    Listed[22]
    "bl_ua" "bl_country" "bl_ip" "bl_from_name" "bl_from_user" "bl_from_domain" "bl_to_name" "bl_to_user" "bl_to_domain"
    "bl_contact_user" "bl_contact_domain"
    "wl_ua" "wl_country" "wl_ip" "wl_from_name" "wl_from_user" "wl_from_domain" "wl_to_name" "wl_to_user" "wl_to_domain"
    "wl_contact_user" "wl_contact_domain"
}

impl Listed {
    /// Counts one: `ua`, `country`, `ip`, or a header with what of it.
    pub fn note(&mut self, black: bool, what: &str) {
        self.count(&format!("{}_{what}", if black { "bl" } else { "wl" }));
    }
}

fn class(status: StatusCode) -> &'static str {
    ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"].get(usize::from(status.class()) - 1).copied().unwrap_or("xxx")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_counted_under_its_name() {
        let (mut replies, mut answers) = (Replies::default(), Answers::default());
        for code in [100, 180, 183, 200, 486, 486, 603, 407] {
            replies.note(StatusCode::new(code).expect("a code"));
            answers.note(StatusCode::new(code).expect("a code"));
        }
        let of = |table: Vec<(&'static str, u64)>| -> String {
            let told = table.into_iter().filter(|(_, count)| *count > 0);
            told.map(|(name, count)| format!("{name}={count} ")).collect()
        };
        assert_eq!(of(replies.each().collect()), "18x=2 1xx=3 2xx=1 407=1 486=2 4xx=3 6xx=1 ");
        assert_eq!(of(answers.each().collect()), "200=1 407=1 4xx=2 6xx=1 xxx=3 ");
        assert_eq!(replies.sum(|name| name.ends_with("xx")), 8);
    }

    #[test]
    fn every_method_has_the_place_that_its_name_says() {
        for name in Requests::NAMES {
            let method = Method::parse(&name.to_uppercase()).expect("a token");
            let mut requests = Requests::default();
            requests.note(&method);
            assert_eq!(requests.sum(|known| known == name), 1, "{name}");
        }
    }

    #[test]
    fn what_workers_have_counted_is_added_up() {
        let mut one = Stats { calls: 2, ..Stats::default() };
        one.rcv_requests.note(&Method::Bye);
        let mut sum = one;
        sum += one;
        assert_eq!((sum.calls, sum.rcv_requests.sum(|name| name == "bye"), sum.received), (4, 2, 0));
    }
}
