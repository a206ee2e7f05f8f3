//! Which relays carry the media, and how they are asked: but for `media.relay`, which is `rtpengine_sock`, and
//! `ping_interval`, the names are those of Kamailio's rtpengine module.

use super::super::value::Value;
use super::super::{Config, Relay, RelayNode, RelayPlace, RelaySounds};
use super::{FLAG, Key};

/// Most relays of all sets.
const MAX_NODES: usize = 64;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "media.relay",
        allowed: "\"in-process\", \"off\", or relays with a space between them, each \"udp:ADDRESS:PORT\" or \"in-process\" and with \"=WEIGHT\" if it is not 1; a list of such texts, each beginning with \"SETID ==\", for several sets",
        default: "\"in-process\"",
        about: "The media relay: the one of this process, or any that speak the ng protocol, such as rtpengine (Kamailio's rtpengine_sock). A call goes to one by weight and stays there; when that is gone, it moves to another. With \"off\" offers and answers pass as they are, for phones that reach each other.",
        set: set_relay,
    },
    Key {
        name: "media.setid_default",
        allowed: "0 to 65535",
        default: "0",
        about: "The set of relays in use; those of other sets take calls only while all of this one are disabled.",
        set: |c, v| v.number(0, 65_535).map(|number| c.media.relays.setid_default = number),
    },
    Key {
        name: "media.rtpengine_disable_tout",
        allowed: "1 to 3600 seconds",
        default: "60",
        about: "How long a relay that has not answered is left alone, unless it answers a ping.",
        set: |c, v| v.seconds(1, 3600).map(|time| c.media.relays.rtpengine_disable_tout = time),
    },
    Key {
        name: "media.rtpengine_tout_ms",
        allowed: "100 to 10000 ms",
        default: "1000",
        about: "How long a reply is waited for before the command is sent again; the first two waits are a quarter and half of it.",
        set: |c, v| v.milliseconds(100, 10_000).map(|time| c.media.relays.rtpengine_tout = time),
    },
    Key {
        name: "media.rtpengine_retr",
        allowed: "1 to 20",
        default: "5",
        about: "How often a command is sent before its relay counts as gone.",
        set: |c, v| v.number(1, 20).map(|number| c.media.relays.rtpengine_retr = number),
    },
    Key {
        name: "media.queried_nodes_limit",
        allowed: "1 to 64",
        default: "50",
        about: "How many relays one offer is taken to at most.",
        set: |c, v| v.number(1, 64).map(|number| c.media.relays.queried_nodes_limit = number),
    },
    Key {
        name: "media.rtpengine_allow_op",
        allowed: FLAG,
        default: "false",
        about: "Whether a disabled relay is still asked about the calls that it carries. Otherwise their next offer goes to another one.",
        set: |c, v| v.flag().map(|flag| c.media.relays.rtpengine_allow_op = flag),
    },
    Key {
        name: "media.relay_sounds",
        allowed: "\"auto\", \"file\" or \"blob\"",
        default: "\"auto\"",
        about: "How a relay elsewhere gets announcements and music: by the names of files, which it must have under the same paths, or by their sound, in telephone quality and for as long as fits a datagram (7 s). The default is the first on this host, and the second elsewhere.",
        set: |c, v| {
            v.choice(&["auto", "file", "blob"]).map(|place| {
                c.media.relays.sounds = match place {
                    0 => RelaySounds::Auto,
                    1 => RelaySounds::File,
                    _ => RelaySounds::Blob,
                };
            })
        },
    },
    Key {
        name: "media.ping_interval",
        allowed: "0 to 3600 seconds; 0 for never",
        default: "5",
        about: "Time between pings of relays elsewhere. They find one that is gone while its calls are silent, and one that is back.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.media.relays.ping_interval = time),
    },
];

fn set_relay(config: &mut Config, value: &Value) -> Result<(), String> {
    let sets = value.text().map(|text| vec![text]).or_else(|_| value.list())?;
    let nodes: Vec<RelayNode> =
        sets.iter().map(|set| nodes(set)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let mut places: Vec<RelayPlace> = Vec::new();
    for node in &nodes {
        if places.contains(&node.place) {
            return Err("one relay stands twice".to_owned());
        }
        places.push(node.place);
    }
    config.media.relay = match &nodes[..] {
        [] if sets.iter().any(|set| set.trim() == "off") && sets.len() == 1 => Relay::Off,
        [] => return Err("no relay is named".to_owned()),
        [RelayNode { place: RelayPlace::InProcess, .. }] => Relay::InProcess,
        _ if nodes.len() > MAX_NODES => return Err(format!("more than {MAX_NODES} relays")),
        _ => Relay::Several,
    };
    config.media.relays.nodes = nodes;
    Ok(())
}

/// One set: `[SETID ==] RELAY[=WEIGHT] ...`; none for `off`.
fn nodes(text: &str) -> Result<Vec<RelayNode>, String> {
    let (set, relays) = match text.split_once("==") {
        Some((set, relays)) => {
            (set.trim().parse().map_err(|_| format!("{:?} is no set", set.trim()))?, relays)
        }
        None => (0, text),
    };
    if relays.trim() == "off" {
        return Ok(Vec::new());
    }
    let node = |word: &str| {
        let (place, weight) = word.split_once('=').unwrap_or((word, "1"));
        let bad = || format!("{word:?} is no relay");
        let weight = weight.parse().ok().filter(|weight: &u32| *weight <= 1000).ok_or_else(bad)?;
        let place = match place.strip_prefix("udp:").map(|rest| rest.replacen("localhost:", "127.0.0.1:", 1))
        {
            None if place == "in-process" => RelayPlace::InProcess,
            Some(address) => RelayPlace::Ng(address.parse().map_err(|_| bad())?),
            None => return Err(bad()),
        };
        Ok(RelayNode { set, place, weight })
    };
    relays.split_whitespace().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::Config;
    use super::*;

    fn read(value: &str) -> Result<Vec<String>, String> {
        let config =
            Config::parse(&format!("[media]\nrelay = {value}\n"), "x").map_err(|error| error.what)?;
        let shown = config.media.relays.nodes.iter().map(|node| match node.place {
            RelayPlace::InProcess => format!("{} here {}", node.set, node.weight),
            RelayPlace::Ng(address) => format!("{} {address} {}", node.set, node.weight),
        });
        Ok(shown.collect())
    }

    #[test]
    fn relays_are_spelt_as_in_kamailio() {
        for (value, nodes) in [
            ("\"off\"", &[][..]),
            ("\"in-process\"", &["0 here 1"]),
            ("\"udp:10.0.0.1:2223\"", &["0 10.0.0.1:2223 1"]),
            (
                "\"udp:localhost:2223=2 udp:[::1]:2223 in-process=0\"",
                &["0 127.0.0.1:2223 2", "0 [::1]:2223 1", "0 here 0"],
            ),
            ("[\"1 == udp:10.0.0.1:1=3\", \"2==udp:10.0.0.2:1\"]", &["1 10.0.0.1:1 3", "2 10.0.0.2:1 1"]),
        ] {
            assert_eq!(read(value).unwrap(), nodes, "{value}");
        }
        for (value, why) in [
            ("\"\"", "no relay is named"),
            ("\"tcp:10.0.0.1:1\"", "\"tcp:10.0.0.1:1\" is no relay"),
            ("\"udp:10.0.0.1:1=x\"", "\"udp:10.0.0.1:1=x\" is no relay"),
            ("\"udp:10.0.0.1:1=-1\"", "\"udp:10.0.0.1:1=-1\" is no relay"),
            ("\"x == udp:10.0.0.1:1\"", "\"x\" is no set"),
            ("\"udp:10.0.0.1:1 udp:10.0.0.1:1=2\"", "one relay stands twice"),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.starts_with(&format!("media.relay: {why}")), "{value}: {error}");
        }
    }
}
