//! Gateways in sets, as Kamailio's `dispatcher` module has them: which one a request goes to, which come after it when that one
//! fails, and which are left alone because they do not answer.
//!
//! The rows are part of [`crate::tables::Tables`] and swapped with them. What was learnt of a gateway ([`State`]) stays across
//! that, and is shared by all workers.

mod choose;
mod state;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::choose::{Algorithm, Key};
pub use self::state::{Latency, Load, Question, State};
pub use self::variables::{Variable, Variables};
use crate::message::{Response, Uri};

/// Takes no requests, for it has not answered (Kamailio's `DS_INACTIVE_DST`).
pub const INACTIVE: u32 = 1;
/// Has failed, and not so often that it were inactive (`DS_TRYING_DST`). It takes requests.
pub const TRYING: u32 = 2;
/// Takes no requests, for an operator says so (`DS_DISABLED_DST`).
pub const DISABLED: u32 = 4;
/// Is asked whether it is there (`DS_PROBING_DST`).
pub const PROBING: u32 = 8;
const STATES: u32 = INACTIVE | TRYING | DISABLED | PROBING;

/// How gateways are asked and judged, under Kamailio's names.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `ds_ping_interval`: how often they are asked by OPTIONS; zero for never (default).
    pub ping_interval: Duration,
    /// `ds_ping_from`: the From URI of that (default `sip:dispatcher@localhost`).
    pub ping_from: String,
    /// `ds_probing_mode`: whether all are asked, or those alone that have failed (default).
    pub ping_all: bool,
    /// `ds_probing_threshold`: so many failures in a row make one inactive (default 1).
    pub probing_threshold: u32,
    /// `ds_inactive_threshold`: so many answers in a row make it active again (default 1).
    pub inactive_threshold: u32,
    /// `ds_ping_reply_codes`: codes beside 2xx that count as answers.
    pub reply_codes: Vec<u16>,
    /// `ds_latency_estimator_alpha`, of one and not of a thousand: the weight of what was before in the estimate of how long
    /// answers take (default 0.9).
    pub latency_estimator_alpha: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval: Duration::ZERO,
            ping_from: "sip:dispatcher@localhost".to_owned(),
            ping_all: false,
            probing_threshold: 1,
            inactive_threshold: 1,
            reply_codes: Vec::new(),
            latency_estimator_alpha: 0.9,
        }
    }
}

/// A row of the table `dispatcher`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The set that it belongs to.
    pub set: i64,
    /// The gateway's SIP URI.
    pub destination: String,
    /// The states that it begins in.
    pub flags: u32,
    /// The higher, the sooner in its set.
    pub priority: i64,
    /// `weight=60;duid=a;maxload=7`.
    pub attrs: String,
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    /// As in its row.
    pub uri: String,
    /// The same.
    pub target: Uri,
    /// As in its row.
    pub priority: i64,
    /// The flags of its row, without what was learnt since.
    pub flags: u32,
    /// What its row says beside that.
    pub attrs: Attrs,
    /// What was learnt of it.
    pub state: Arc<State>,
}

impl Gateway {
    /// A response of it, which may say how much less it wants to have (RFC 7339 §4.2).
    pub fn hears(&self, now: Instant, response: &Response) {
        let Ok(via) = response.top_via() else { return };
        let params = via.params();
        let number = |name: &str| params.get(name).and_then(|text| text.parse::<u32>().ok());
        // Without a number it says only that it knows what this is about.
        if let Some(percent) = number("oc") {
            self.state.reduce(now, percent, number("oc-validity").map(|ms| Duration::from_millis(ms.into())));
        }
    }
}

/// The column `attrs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attrs {
    /// The whole of it.
    pub body: String,
    /// `duid`: its name for people.
    pub duid: Option<String>,
    /// `maxload`: calls at once that algorithm 10 gives it; 0 for any number.
    pub maxload: u32,
    /// `weight`: its share in algorithm 9.
    pub weight: u32,
    /// `rweight`: its share in algorithm 11.
    pub rweight: u32,
    /// `socket`, which is shown only.
    pub socket: Option<String>,
    /// `sockname`, likewise.
    pub sockname: Option<String>,
    /// `obproxy`, likewise.
    pub obproxy: Option<String>,
    /// `cc`: whether it is judged by its congestion.
    pub cc: bool,
    /// `latency`: how many milliseconds its answers take, until that is known.
    pub latency: u32,
    /// `ping_from`: the From URI by which it alone is asked.
    pub ping_from: Option<String>,
}

/// The gateways of one number.
#[derive(Debug, Default)]
pub struct Set {
    /// By falling priority; among equals as in the table.
    pub gateways: Vec<Arc<Gateway>>,
    /// Whose turn it is (algorithm 4).
    turn: AtomicUsize,
}

/// All sets, and what outlives their rows.
#[derive(Debug, Default)]
pub struct Dispatcher {
    /// By number.
    pub sets: BTreeMap<i64, Set>,
    /// What was learnt.
    pub known: Arc<Known>,
}

/// The flags of a row, and what was learnt of its gateway since.
type Learnt = (u32, Arc<State>);

/// What was learnt of gateways, by set and URI; it stays when rows are read again.
#[derive(Debug, Default)]
pub struct Known {
    states: Mutex<HashMap<(i64, String), Learnt>>,
    /// When the next round of questions is.
    next: Mutex<Option<Instant>>,
    /// Whether nobody is asked for now (`dispatcher.ping_active 0`).
    silent: AtomicBool,
}

impl Dispatcher {
    /// Puts rows in order. A row whose flags are as they were keeps what was learnt of its gateway.
    ///
    /// A row whose destination is no SIP URI is handed to `refuse` and left out.
    pub fn new(rows: Vec<Row>, known: Arc<Known>, mut refuse: impl FnMut(&Row)) -> Self {
        let mut sets: BTreeMap<i64, Set> = BTreeMap::new();
        let mut states = HashMap::new();
        {
            let before = lock(&known.states);
            for row in rows {
                let Some(target) = Uri::parse(&row.destination).ok().filter(Uri::is_sip) else {
                    refuse(&row);
                    continue;
                };
                let key = (row.set, row.destination.clone());
                let kept = before.get(&key).filter(|(flags, _)| *flags == row.flags);
                let attrs = Attrs::parse(&row.attrs);
                let state = kept.map(|(_, state)| Arc::clone(state));
                let state =
                    state.unwrap_or_else(|| Arc::new(State::new(row.flags & STATES, attrs.latency.into())));
                states.insert(key, (row.flags, Arc::clone(&state)));
                let Row { set, destination: uri, flags, priority, .. } = row;
                let gateway = Gateway { uri, target, priority, flags, attrs, state };
                sets.entry(set).or_default().gateways.push(Arc::new(gateway));
            }
        }
        for set in sets.values_mut() {
            set.gateways.sort_by_key(|gateway| std::cmp::Reverse(gateway.priority));
        }
        *lock(&known.states) = states;
        Self { sets, known }
    }

    /// Those of a set that take requests now, the one that the algorithm has chosen first and after it those to try when it
    /// fails. None when there is none.
    #[must_use]
    pub fn select(&self, set: i64, algorithm: Algorithm, key: &Key<'_>) -> Vec<Arc<Gateway>> {
        self.sets.get(&set).map_or_else(Vec::new, |set| choose::order(set, algorithm, key))
    }

    /// Sets the state of a gateway, or of a whole set when `uri` is `all`. Whether there is one.
    pub fn set_state(&self, set: i64, uri: &str, state: NewState) -> bool {
        let Some(set) = self.sets.get(&set) else { return false };
        let wanted = set.gateways.iter().filter(|gateway| uri == "all" || gateway.uri == uri);
        let mut found = false;
        for gateway in wanted {
            found = true;
            gateway.state.set(state);
        }
        found
    }

    /// Those whose turn it is to be asked, for one worker of all.
    #[must_use]
    pub fn take_round(&self, now: Instant, settings: &Settings) -> Vec<Question> {
        if settings.ping_interval.is_zero() || !self.known.is_asking() {
            return Vec::new();
        }
        {
            let mut next = lock(&self.known.next);
            if next.is_some_and(|next| next > now) {
                return Vec::new();
            }
            *next = Some(now + settings.ping_interval);
        }
        let all = self.sets.values().flat_map(|set| &set.gateways);
        all.filter_map(|gateway| Question::to(gateway, settings.ping_all)).collect()
    }
}

impl Known {
    /// Whether gateways are asked.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        !self.silent.load(Ordering::Relaxed)
    }

    /// Has them be asked, or not.
    pub fn ask(&self, asking: bool) {
        self.silent.store(!asking, Ordering::Relaxed);
    }
}

/// A state that an operator sets (`a`, `i`, `d`, `t`, and `p` behind it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewState {
    flags: u32,
}

impl NewState {
    /// Reads the letters of `dispatcher.set_state`; `None` for others.
    #[must_use]
    pub fn parse(letters: &str) -> Option<Self> {
        let mut flags = 0;
        for letter in letters.bytes() {
            flags = match letter.to_ascii_lowercase() {
                b'a' => flags & PROBING,
                b'i' => (flags & PROBING) | INACTIVE,
                b'd' => (flags & PROBING) | DISABLED,
                b't' => (flags & PROBING) | TRYING,
                b'p' => flags | PROBING,
                _ => return None,
            };
        }
        (!letters.is_empty()).then_some(Self { flags })
    }
}

impl Attrs {
    /// Reads `NAME=VALUE;…`; what is not known has no meaning.
    #[must_use]
    pub fn parse(body: &str) -> Self {
        let mut attrs = Self { body: body.to_owned(), ..Self::default() };
        for (name, value) in body.split(';').filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            let number = || value.parse().unwrap_or(0);
            let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match name {
                "duid" => attrs.duid = text(),
                "maxload" => attrs.maxload = number(),
                "weight" => attrs.weight = number(),
                "rweight" => attrs.rweight = number(),
                "socket" => attrs.socket = text(),
                "sockname" => attrs.sockname = text(),
                "obproxy" => attrs.obproxy = text(),
                "cc" => attrs.cc = value == "1",
                "latency" => attrs.latency = number(),
                "ping_from" => attrs.ping_from = text(),
                _ => {}
            }
        }
        attrs
    }
}

/// Nothing that is done under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
