//! What the values of options mean.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use media::{ForwardingConfig, Interface, RecordingConfig, RecordingMethod};

use super::Settings;

/// The settings of recordings, begun with the first option that speaks of them.
pub(super) fn recording(settings: &mut Settings) -> &mut RecordingConfig {
    settings.recording.get_or_insert_with(|| RecordingConfig {
        directory: PathBuf::new(),
        method: RecordingMethod::Pcap { ethernet: false },
        max_octets: 0,
        max_age: Duration::ZERO,
    })
}

/// The settings of forwarding, begun with the first option that speaks of it.
pub(super) fn forwarding(settings: &mut Settings) -> &mut ForwardingConfig {
    settings.forwarding.get_or_insert_with(|| ForwardingConfig {
        to: (Ipv4Addr::UNSPECIFIED, 0).into(),
        rate: 8000,
        tls: None,
    })
}

pub(super) fn forward_to(settings: &mut Settings, value: &str, over_tls: bool) -> Result<(), String> {
    let address: SocketAddr = value.parse().map_err(|_| format!("{value:?} is no IP:PORT"))?;
    let known = forwarding(settings);
    if address.port() == 0 {
        return Err("0 is no port of a receiver".to_owned());
    }
    if known.to.port() != 0 {
        return Err("sound is forwarded to one receiver".to_owned());
    }
    known.to = address;
    match over_tls {
        true => drop(known.tls.get_or_insert_default()),
        false => known.tls = None,
    }
    Ok(())
}

/// Those that every codec's sound can be brought to.
pub(super) fn forwarding_rate(settings: &mut Settings, value: &str) -> Result<(), String> {
    let rates = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
    let rate = number(value)?;
    if !rates.contains(&rate) {
        return Err(format!("{value} is none of {}", rates.map(|rate| rate.to_string()).join(", ")));
    }
    forwarding(settings).rate = rate;
    Ok(())
}

pub(super) fn recording_method(settings: &mut Settings, value: &str) -> Result<(), String> {
    let known = &mut recording(settings).method;
    *known = match value {
        // With the headers that recording-format asked for.
        "pcap" => return Ok(()),
        "stereo" => RecordingMethod::Stereo,
        "mixed" => RecordingMethod::Mixed,
        "separate" => RecordingMethod::Separate,
        "proc" => return Err("there is no kernel module; pcap, stereo, mixed and separate".to_owned()),
        _ => return Err(format!("{value:?} is none of pcap, stereo, mixed and separate")),
    };
    Ok(())
}

pub(super) fn recording_format(settings: &mut Settings, value: &str) -> Result<(), String> {
    let ethernet = match value {
        "raw" => false,
        "eth" => true,
        _ => return Err(format!("{value:?} is neither raw nor eth")),
    };
    if let RecordingMethod::Pcap { ethernet: known } = &mut recording(settings).method {
        *known = ethernet;
    }
    Ok(())
}

pub(super) fn text(value: &str) -> Result<String, String> {
    match value {
        "" => Err("a value is missing".to_owned()),
        value => Ok(value.to_owned()),
    }
}

pub(super) fn number<N: std::str::FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("{value:?} is no number that fits"))
}

pub(super) fn seconds(value: &str) -> Result<Duration, String> {
    number::<u32>(value).map(|seconds| Duration::from_secs(seconds.into()))
}

/// No call is longer.
pub(super) const DAY: u64 = 86_400;

pub(super) fn silence_detect(settings: &mut Settings, value: &str) -> Result<(), String> {
    let percent = number::<f64>(value)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("{value:?} is not between 0 and 100"));
    }
    let below = (percent / 100.0 * f64::from(i16::MAX)) as i16;
    settings.relay.silence.below = Some(below).filter(|_| percent > 0.0);
    Ok(())
}

/// Octets of comfort noise: of a repeated option, or of one with several parted by semicolons.
pub(super) fn octets(octets: &mut Vec<u8>, value: &str, anew: bool) -> Result<(), String> {
    if anew {
        octets.clear();
    }
    for one in value.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        octets.push(number(one)?);
    }
    match octets.len() {
        1..=16 => Ok(()),
        _ => Err("one to sixteen octets are possible".to_owned()),
    }
}

pub(super) fn interface(settings: &mut Settings, value: &str) -> Result<(), String> {
    for one in value.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        settings.relay.interfaces.extend(Interface::parse_all(one).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// `PORT`, `IP:PORT`, `[IP6]:PORT`, `localhost:PORT`.
pub(super) fn address(value: &str) -> Option<SocketAddr> {
    if let Ok(port) = value.parse::<u16>() {
        return Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    if let Some(port) = value.strip_prefix("localhost:") {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
    }
    value.parse().ok()
}

pub(super) fn listen_ng(settings: &mut Settings, value: &str) -> Result<(), String> {
    let address = address(value).ok_or_else(|| format!("{value:?} is no [IP:]PORT"))?;
    settings.relay.listen_ng = Some(address);
    Ok(())
}

/// As rtpengine has it: letters, digits and hyphens, the last in place of all else.
pub(super) fn software_id(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 64 {
        return Err("1 to 64 characters".to_owned());
    }
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    settings.relay.software_id = text.chars().map(plain).collect();
    Ok(())
}

/// Several, with `;` between them.
pub(super) fn ports(value: &str) -> Result<Vec<SocketAddr>, String> {
    let words = value.split(';').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| address(word).ok_or_else(|| format!("{word:?} is no [IP:]PORT"))).collect()
}

pub(super) fn max_sessions(settings: &mut Settings, value: &str) -> Result<(), String> {
    let limit: i64 = number(value)?;
    settings.relay.max_sessions = usize::try_from(limit).ok();
    Ok(())
}

/// rtpengine's two formats are text here.
pub(super) fn log_format(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.log_json = match value {
        "json" => true,
        "default" | "parsable" => false,
        _ => return Err("default, parsable or json".to_owned()),
    };
    Ok(())
}

pub(super) fn log_level(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.log_level = number::<u8>(value).ok().filter(|level| *level <= 7).ok_or("0 to 7")?;
    Ok(())
}

pub(super) fn table(settings: &mut Settings, value: &str) -> Result<(), String> {
    if number::<i64>(value)? >= 0 {
        settings
            .warnings
            .push("table: there is no kernel module; media is forwarded by this process".to_owned());
    }
    Ok(())
}

pub(super) fn certificate(_: &mut Settings, value: &str) -> Result<(), String> {
    match value {
        "prime256v1" => Ok(()),
        _ => Err("the certificate is ECDSA P-256 (prime256v1)".to_owned()),
    }
}

pub(super) fn signature(_: &mut Settings, value: &str) -> Result<(), String> {
    match value.to_ascii_lowercase().as_str() {
        "sha-256" => Ok(()),
        _ => Err("the certificate is signed with SHA-256".to_owned()),
    }
}

pub(super) fn learning(settings: &mut Settings, value: &str) -> Result<(), String> {
    match value {
        "heuristic" => Ok(()),
        "delayed" | "immediate" => {
            settings.warnings.push("endpoint-learning: heuristic, which learns at least as well".to_owned());
            Ok(())
        }
        _ => Err("heuristic is possible, and the flag asymmetric per call".to_owned()),
    }
}
