use std::collections::HashMap;

use futures_util::FutureExt as _;
use signaling_core::flow::Protocol::{Tcp, Tls, Udp};

use super::*;

/// Records by kind and name, as text. A name of the kind `fails` is one whose server does not answer.
#[derive(Default)]
struct Table {
    naptr: HashMap<String, Vec<Naptr>>,
    srv: HashMap<String, Vec<Srv>>,
    hosts: HashMap<String, Vec<IpAddr>>,
    fails: Vec<String>,
}

impl Table {
    /// One record a line: `NAME naptr ORDER PREFERENCE FLAGS SERVICE REPLACEMENT`, `NAME srv PRIORITY WEIGHT PORT TARGET`,
    /// `NAME a ADDRESS`, `NAME fails`.
    fn new(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let (name, number) = (parts[0].to_owned(), |at: usize| parts[at].parse().unwrap());
            let text = |at: usize| if parts[at] == "." { String::new() } else { parts[at].to_owned() };
            match parts[1] {
                "naptr" => table.naptr.entry(name).or_default().push(Naptr {
                    order: number(2),
                    preference: number(3),
                    flags: text(4),
                    service: text(5),
                    replacement: text(6),
                }),
                "srv" => table.srv.entry(name).or_default().push(Srv {
                    priority: number(2),
                    weight: number(3),
                    port: number(4),
                    target: text(5),
                }),
                "a" => table.hosts.entry(name).or_default().push(parts[2].parse().unwrap()),
                _ => table.fails.push(name),
            }
        }
        table
    }

    fn get<T: Clone>(&self, records: &HashMap<String, Vec<T>>, name: &str) -> Result<Vec<T>, String> {
        if self.fails.iter().any(|fails| fails == name) {
            return Err(format!("{name}: no answer"));
        }
        Ok(records.get(name).cloned().unwrap_or_default())
    }
}

impl Zone for Table {
    async fn naptr(&self, name: &str) -> Result<Vec<Naptr>, String> {
        self.get(&self.naptr, name)
    }

    async fn srv(&self, name: &str) -> Result<Vec<Srv>, String> {
        self.get(&self.srv, name)
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.get(&self.hosts, name)
    }

    fn source(&self, remote: IpAddr) -> Option<IpAddr> {
        Some(if remote.is_ipv4() { [192, 0, 2, 9].into() } else { "2001:db8::9".parse().unwrap() })
    }
}

const ZONE: &str = "
    plain a 192.0.2.1
    dual a 192.0.2.2
    dual a 2001:db8::2
    srv a 192.0.2.3
    _sip._udp.srv srv 1 1 5070 a
    _sip._tcp.srv srv 1 1 5071 b
    a a 192.0.2.11
    b a 192.0.2.12
    c a 192.0.2.13
    backup a 192.0.2.14
    _sip._udp.many srv 20 0 5062 backup
    _sip._udp.many srv 10 0 5060 a
    _sip._udp.many srv 10 70 5060 b
    _sip._udp.many srv 10 30 5061 c
    naptr naptr 20 1 s SIP+D2U _sip._udp.srv
    naptr naptr 10 2 s SIP+D2T _sip._tcp.srv
    naptr naptr 10 1 S sips+d2t _sips._tcp.secure
    naptr naptr 5 1 s smtp+D2T mail
    naptr naptr 6 1 u SIP+D2U mail
    _sips._tcp.secure srv 0 0 5081 c
    _sips._tcp.secured srv 0 0 5082 c
    secured a 192.0.2.4
    foreign naptr 1 1 s SIP+D2S _sip._sctp.foreign
    foreign a 192.0.2.5
    _sip._udp.none srv 0 0 0 .
    none a 192.0.2.6
    _sip._udp.half srv 0 0 0 .
    _sip._tcp.half srv 0 0 5075 a
    half a 192.0.2.7
    _sip._udp.lame srv 1 0 5060 nowhere
    _sip._udp.lame srv 2 0 5060 a
    _sip._udp.slow fails
    slow a 192.0.2.8
    dead fails
";

fn find(host: &str, port: Option<u16>, transport: Option<Protocol>, secure: bool, reach: &Reach) -> String {
    let lookup = Lookup { target: host, port, transport, secure };
    let found = locate(&Table::new(ZONE), lookup, reach, true, |total| total).now_or_never().unwrap();
    match found {
        Ok(found) => {
            found.iter().map(|(p, a)| format!("{p}/{a}")).collect::<Vec<_>>().join(" ").to_ascii_lowercase()
        }
        Err(error) => format!("! {error}"),
    }
}

fn everything() -> Reach {
    let addresses = ["192.0.2.9:5060", "[2001:db8::9]:5060"].map(|address| address.parse().unwrap());
    Reach::of([Udp, Tcp, Tls].into_iter().flat_map(|protocol| addresses.map(|address| (protocol, address))))
}

/// RFC 3263 §4.1 and §4.2, case by case.
#[test]
fn transport_port_and_address_follow_from_what_is_given() {
    let all = everything();
    for (host, port, transport, secure, expected) in [
        ("plain", Some(5090), None, false, "udp/192.0.2.1:5090"),
        ("plain", Some(5090), Some(Tcp), false, "tcp/192.0.2.1:5090"),
        ("plain", Some(5090), None, true, "tls/192.0.2.1:5090"),
        ("plain", None, None, false, "udp/192.0.2.1:5060"),
        ("plain", None, None, true, "tls/192.0.2.1:5061"),
        ("plain", None, Some(Tls), false, "tls/192.0.2.1:5061"),
        ("dual", None, None, false, "udp/[2001:db8::2]:5060 udp/192.0.2.2:5060"),
        ("srv", None, Some(Tcp), false, "tcp/192.0.2.12:5071"),
        ("srv", None, None, false, "udp/192.0.2.11:5070 tcp/192.0.2.12:5071"),
        // A port or an explicit transport without SRV asks for no SRV record of another.
        ("srv", Some(5060), Some(Udp), false, "udp/192.0.2.3:5060"),
        ("srv", None, None, true, "tls/192.0.2.3:5061"),
        // By order, then preference; what we do not speak or understand is passed over.
        ("naptr", None, None, false, "tls/192.0.2.13:5081 tcp/192.0.2.12:5071 udp/192.0.2.11:5070"),
        ("naptr", None, None, true, "tls/192.0.2.13:5081"),
        ("secured", None, None, true, "tls/192.0.2.13:5082"),
        ("foreign", None, None, false, "udp/192.0.2.5:5060"),
        // "." is a decided no (RFC 2782), for the transport that says it.
        ("none", None, Some(Udp), false, "! none: no such service"),
        ("none", None, None, false, "! none: no such service"),
        ("half", None, None, false, "tcp/192.0.2.11:5075"),
        // A target without an address is passed over.
        ("lame", None, None, false, "udp/192.0.2.11:5060"),
        ("slow", None, None, false, "udp/192.0.2.8:5060"),
        ("dead", None, None, false, "! dead: no answer"),
        ("nowhere", None, None, false, "! nowhere: no address that can be reached over udp"),
    ] {
        let found = find(host, port, transport, secure, &all).to_ascii_lowercase();
        assert_eq!(found, expected, "{host} {port:?} {transport:?} {secure}");
    }
}

/// RFC 2782: by priority; the weights decide among equals, and a weight of 0 is still chosen at times.
#[test]
fn servers_of_one_priority_are_drawn_by_weight() {
    let order = |draws: &[u32]| {
        let mut draws = draws.iter();
        let lookup = Lookup { target: "many", port: None, transport: Some(Udp), secure: false };
        let draw = |total: u32| (*draws.next().unwrap()).min(total);
        let found = locate(&Table::new(ZONE), lookup, &everything(), true, draw).now_or_never().unwrap();
        found.unwrap().iter().map(|(_, a)| a.ip().to_string()).collect::<Vec<_>>().join(" ")
    };
    let (a, b, c, backup) = ("192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14");
    assert_eq!(order(&[100, 100, 100, 100]), format!("{b} {c} {a} {backup}"));
    assert_eq!(order(&[0, 0, 0, 0]), format!("{a} {c} {b} {backup}"));
    assert_eq!(order(&[30, 0, 70, 0]), format!("{c} {a} {b} {backup}"));
    // Drawn 1,000 times, the first place falls to the weights: 70 to 30.
    let mut first = HashMap::new();
    let mut state = 1u32;
    for _ in 0..1000 {
        let records = Table::new(ZONE).srv["_sip._udp.many"].clone();
        let ordered = by_weight(records, |total| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % (total + 1)
        });
        *first.entry(ordered[0].target.clone()).or_insert(0) += 1;
    }
    assert!((620..780).contains(&first["b"]) && (220..380).contains(&first["c"]), "{first:?}");
}

#[test]
fn only_what_we_have_listeners_for_is_found() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let udp = Reach::of([(Udp, address("192.0.2.9:5060"))]);
    assert_eq!(find("dual", None, None, false, &udp), "udp/192.0.2.2:5060");
    assert_eq!(find("naptr", None, None, false, &udp), "udp/192.0.2.11:5070");
    assert!(find("plain", None, Some(Tls), false, &udp).starts_with("! plain"));
    let v6 = Reach::of([(Udp, address("[2001:db8::9]:5060"))]);
    assert_eq!(find("dual", None, None, false, &v6), "udp/[2001:db8::2]:5060");
    assert!(find("plain", None, None, false, &v6).starts_with('!'));
}

#[test]
fn a_zone_without_measure_is_cut() {
    let mut text = String::new();
    for n in 0..300 {
        text.push_str(&format!("_sip._udp.huge srv {n} 0 5060 t{n}\nt{n} a 10.0.{}.{}\n", n / 250, n % 250));
        text.push_str(&format!("wide a 10.1.{}.{}\n", n / 250, n % 250));
    }
    let table = Table::new(&text);
    for target in ["huge", "wide"] {
        let lookup = Lookup { target, port: None, transport: Some(Udp), secure: false };
        let found = locate(&table, lookup, &everything(), true, |_| 0).now_or_never().unwrap().unwrap();
        assert!(found.len() == MAX_ADDRESSES, "{}", found.len());
    }
}
