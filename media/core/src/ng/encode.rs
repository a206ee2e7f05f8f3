//! [`Reply`] → bytes, with rtpengine's key names.

use super::Encoding;
use super::bencode::write_text;
use crate::command::{
    CallReport, Cause, Counters, MediaReport, Progress, Quality, Reply, Sample, StreamReport, Subscription,
    TagReport, Value,
};

/// Writes a reply after its cookie.
pub fn encode(cookie: &[u8], reply: &Reply, encoding: Encoding) -> Vec<u8> {
    let mut out = cookie.to_vec();
    out.push(b' ');
    out.extend_from_slice(&encode_plain(reply, encoding));
    out
}

/// Writes a reply without a cookie (`ng-plain`).
pub fn encode_plain(reply: &Reply, encoding: Encoding) -> Vec<u8> {
    let mut entries = dictionary(reply);
    match (encoding, reply) {
        (Encoding::Json, _) => {
            if let Some(sdp) = sdp_of(reply) {
                // JSON has no octets: an SDP that is not UTF-8 is told as well as it can be.
                entries.push(("sdp".to_owned(), text(&String::from_utf8_lossy(sdp))));
            }
            json(&Value::Dictionary(entries)).to_string().into_bytes()
        }
        (Encoding::Bencode, _) => {
            let mut out = vec![b'd'];
            if let Some(sdp) = sdp_of(reply) {
                write_text(&mut out, b"sdp");
                write_text(&mut out, sdp);
            }
            write_entries(&mut out, &entries);
            out.push(b'e');
            out
        }
    }
}

fn sdp_of(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Sdp { sdp, .. } => Some(sdp),
        Reply::Subscription(subscription) => Some(&subscription.sdp),
        _ => None,
    }
}

fn dictionary(reply: &Reply) -> Vec<(String, Value)> {
    let mut entries = Vec::new();
    let mut put = |key: &str, value: Value| entries.push((key.to_owned(), value));
    match reply {
        Reply::Pong => put("result", text("pong")),
        Reply::Error(failure) => {
            put("error-reason", text(&failure.reason));
            put("result", text(if failure.cause == Cause::LoadLimit { "load limit" } else { "error" }));
        }
        Reply::Playing { duration, warnings } => {
            put("duration", integer(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)));
            put("result", text("ok"));
            warning(warnings).into_iter().for_each(|value| put("warning", value));
        }
        Reply::Sdp { warnings, .. } => {
            put("result", text("ok"));
            warning(warnings).into_iter().for_each(|value| put("warning", value));
        }
        Reply::Subscription(it) => {
            subscription(it).into_iter().for_each(|(key, value)| put(&key, value));
            put("result", text("ok"));
            warning(&it.warnings).into_iter().for_each(|value| put("warning", value));
        }
        Reply::Call { report, warnings } => {
            report.iter().flat_map(|report| call(report)).for_each(|(key, value)| put(&key, value));
            put("result", text("ok"));
            warning(warnings).into_iter().for_each(|value| put("warning", value));
        }
        Reply::Done { warnings } => {
            put("result", text("ok"));
            warning(warnings).into_iter().for_each(|value| put("warning", value));
        }
        Reply::Calls(calls) => {
            put("calls", Value::List(calls.iter().map(|call| text(call)).collect()));
            put("result", text("ok"));
        }
        Reply::Sessions(sessions) => {
            put("calls", Value::List(sessions.iter().map(|session| text(&session.call_id)).collect()));
            put("result", text("ok"));
        }
        // The shell makes statistics of them; alone they say nothing.
        Reply::Numbers(_) => put("result", text("ok")),
        Reply::Statistics(statistics) => {
            put("result", text("ok"));
            put("statistics", Value::Dictionary(statistics.clone()));
        }
    }
    entries
}

fn warning(warnings: &[String]) -> Option<Value> {
    (!warnings.is_empty()).then(|| text(&warnings.join("; ")))
}

fn subscription(it: &Subscription) -> Vec<(String, Value)> {
    let tags = it.sources.iter().map(|source| text(&source.tag)).collect();
    let mut entries = vec![entry("to-tag", text(&it.to_tag)), entry("from-tags", Value::List(tags))];
    if let [source] = it.sources.as_slice() {
        entries.push(entry("from-tag", text(&source.tag)));
    }
    let mut by_label = Vec::new();
    let mut by_tag = Vec::with_capacity(it.sources.len());
    for source in &it.sources {
        let named = || source.label.iter().map(|label| entry("label", text(label)));
        let mut medias = Vec::with_capacity(source.medias.len());
        for media in &source.medias {
            let mut about =
                vec![entry("index", integer(media.index as u64)), entry("type", text(&media.media_type))];
            about.push(entry("mode", text(media.mode)));
            if let Some(label) = &media.label {
                let mut whose = about.clone();
                whose.push(entry("tag", text(&source.tag)));
                whose.extend(named());
                by_label.push((label.clone(), Value::Dictionary(whose)));
                about.push(entry("label", text(label)));
            }
            medias.push(Value::Dictionary(about));
        }
        let mut about = vec![entry("tag", text(&source.tag)), entry("medias", Value::List(medias))];
        about.extend(named());
        by_tag.push(Value::Dictionary(about));
    }
    entries.push(entry("tag-medias", Value::List(by_tag)));
    if !by_label.is_empty() {
        entries.push(entry("media-labels", Value::Dictionary(by_label)));
    }
    entries
}

fn call(report: &CallReport) -> Vec<(String, Value)> {
    // Ends that have not answered have no tag yet; a dictionary has room for one of them.
    let mut tags: Vec<(String, Value)> = Vec::with_capacity(report.tags.len());
    for it in &report.tags {
        if !tags.iter().any(|(known, _)| *known == it.tag) {
            tags.push((it.tag.clone(), tag(it)));
        }
    }
    let totals = vec![entry("RTCP", counters(&report.rtcp)), entry("RTP", counters(&report.rtp))];
    vec![
        entry("SSRC", sources(&report.sources)),
        entry("created", integer(report.created)),
        entry("created_us", integer(report.created_micros.into())),
        entry("last signal", integer(report.last_signal)),
        entry("tags", Value::Dictionary(tags)),
        entry("totals", Value::Dictionary(totals)),
    ]
}

/// By their SSRC; two lines that show one source tell of it once.
fn sources(sources: &[Progress]) -> Value {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for source in sources {
        let name = source.ssrc.to_string();
        if !entries.iter().any(|(known, _)| *known == name) {
            entries.push((name, progress(source)));
        }
    }
    Value::Dictionary(entries)
}

fn progress(source: &Progress) -> Value {
    let reported = |sample: &Sample| {
        let mut entries = measured(sample);
        entries.push(entry("reported at", integer(sample.at)));
        Value::Dictionary(entries)
    };
    let mut average = measured(&source.average());
    average.push(entry("samples", integer(source.samples.into())));
    let progression = vec![
        entry("entries", Value::List(source.progression.iter().map(reported).collect())),
        entry("interval", integer(source.interval)),
    ];
    Value::Dictionary(vec![
        entry("MOS progression", Value::Dictionary(progression)),
        entry("average MOS", Value::Dictionary(average)),
        entry("cumulative loss", integer(source.lost)),
        entry("highest MOS", reported(&source.highest)),
        entry("lowest MOS", reported(&source.lowest)),
    ])
}

/// In rtpengine's units: ten times the score, milliseconds of jitter, per cent of packets, microseconds of round trip.
fn measured(sample: &Sample) -> Vec<(String, Value)> {
    let rounded = |value: f64| Value::Integer(value.round() as i64);
    vec![
        entry("MOS", rounded(sample.mos * 10.0)),
        entry("jitter", rounded(sample.jitter)),
        entry("packet loss", rounded(sample.loss)),
        entry("round-trip time", rounded(sample.round_trip)),
        entry("round-trip time leg", rounded(sample.round_trip_leg)),
    ]
}

fn tag(report: &TagReport) -> Value {
    let mut entries = vec![entry("created", integer(report.created))];
    entries.extend(report.in_dialogue_with.iter().map(|peer| entry("in dialogue with", text(peer))));
    entries.extend(report.label.iter().map(|label| entry("label", text(label))));
    entries.push(entry("medias", Value::List(report.medias.iter().map(media).collect())));
    // An offer and its answer hear each other.
    let peers = |report: &TagReport| {
        let peer = |peer: &String| {
            Value::Dictionary(vec![entry("tag", text(peer)), entry("type", text("offer/answer"))])
        };
        Value::List(report.in_dialogue_with.iter().map(peer).collect())
    };
    entries.push(entry("subscribers", peers(report)));
    entries.push(entry("subscriptions", peers(report)));
    entries.push(entry("tag", text(&report.tag)));
    entries.extend(report.via_branch.iter().map(|branch| entry("via-branch", text(branch))));
    Value::Dictionary(entries)
}

fn media(report: &MediaReport) -> Value {
    let mut entries: Vec<_> = report.codec.iter().map(|codec| entry("codec", text(codec))).collect();
    entries.extend([
        entry("flags", texts(&report.flags)),
        entry("index", integer(report.index as u64)),
        entry("protocol", text(&report.protocol)),
        entry("streams", Value::List(report.streams.iter().map(stream).collect())),
        entry("type", text(&report.media_type)),
    ]);
    Value::Dictionary(entries)
}

fn stream(report: &StreamReport) -> Value {
    let mut entries = Vec::new();
    entries.extend(report.quality.map(|it| entry("SSRC", integer(it.ssrc.into()))));
    entries.extend(report.advertised_endpoint.map(|it| entry("advertised endpoint", endpoint(it))));
    entries.extend(report.crypto_suite.iter().map(|suite| entry("crypto suite", text(suite))));
    entries.extend(report.endpoint.map(|it| entry("endpoint", endpoint(it))));
    entries.extend(report.local_address.map(|it| entry("family", family(it))));
    entries.push(entry("flags", texts(&report.flags)));
    entries.push(entry("last packet", integer(report.last_packet)));
    entries.extend(report.local_address.map(|it| entry("local address", text(&it.to_string()))));
    entries.push(entry("local port", integer(u64::from(report.local_port))));
    entries.extend(report.quality.as_ref().map(|it| entry("quality", quality(it))));
    entries.push(entry("stats", counters(&report.stats)));
    Value::Dictionary(entries)
}

/// In rtpengine's units: jitter in milliseconds, round-trip time in microseconds.
fn quality(quality: &Quality) -> Value {
    let millis = |time: std::time::Duration| integer(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let micros = |time: std::time::Duration| integer(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let mut entries = vec![
        entry("SSRC", integer(u64::from(quality.ssrc))),
        entry("jitter", millis(quality.jitter)),
        entry("packets lost", integer(quality.lost)),
    ];
    if let Some(remote) = &quality.remote {
        entries.push(entry("remote jitter", millis(remote.jitter)));
        entries.push(entry("remote packets lost", Value::Integer(i64::from(remote.lost))));
    }
    entries.extend(quality.round_trip.map(|time| entry("round-trip time", micros(time))));
    Value::Dictionary(entries)
}

fn family(address: std::net::IpAddr) -> Value {
    text(if address.is_ipv4() { "IPv4" } else { "IPv6" })
}

fn endpoint(address: std::net::SocketAddr) -> Value {
    Value::Dictionary(vec![
        entry("address", text(&address.ip().to_string())),
        entry("family", family(address.ip())),
        entry("port", integer(u64::from(address.port()))),
    ])
}

fn counters(counters: &Counters) -> Value {
    Value::Dictionary(vec![
        entry("bytes", integer(counters.bytes)),
        entry("errors", integer(counters.errors)),
        entry("packets", integer(counters.packets)),
    ])
}

fn entry(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn texts(words: &[String]) -> Value {
    Value::List(words.iter().map(|word| text(word)).collect())
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(values) => values.iter().map(json).collect(),
        Value::Dictionary(entries) => {
            serde_json::Value::Object(entries.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Integer(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
        Value::Float(number) => write_text(out, number.to_string().as_bytes()),
        Value::Text(text) => write_text(out, text.as_bytes()),
        Value::List(values) => {
            out.push(b'l');
            values.iter().for_each(|value| write(out, value));
            out.push(b'e');
        }
        Value::Dictionary(entries) => {
            out.push(b'd');
            write_entries(out, entries);
            out.push(b'e');
        }
    }
}

fn write_entries(out: &mut Vec<u8>, entries: &[(String, Value)]) {
    for (key, value) in entries {
        write_text(out, key.as_bytes());
        write(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{SubscribedMedia, SubscribedTag};

    #[test]
    fn replies() {
        let sdp =
            Reply::Sdp { sdp: bytes::Bytes::from_static(b"v=0\r\n"), warnings: vec!["a".into(), "b".into()] };
        for (reply, bencode, json) in [
            (Reply::Pong, "1 d6:result4:ponge", r#"1 {"result":"pong"}"#),
            (
                sdp,
                "1 d3:sdp5:v=0\r\n6:result2:ok7:warning4:a; be",
                r#"1 {"result":"ok","sdp":"v=0\r\n","warning":"a; b"}"#,
            ),
            (
                Reply::error(Cause::UnknownCall, "no"),
                "1 d12:error-reason2:no6:result5:errore",
                r#"1 {"error-reason":"no","result":"error"}"#,
            ),
            (
                Reply::error(Cause::LoadLimit, "full"),
                "1 d12:error-reason4:full6:result10:load limite",
                r#"1 {"error-reason":"full","result":"load limit"}"#,
            ),
            (
                Reply::Calls(vec!["x".into()]),
                "1 d5:callsl1:xe6:result2:oke",
                r#"1 {"calls":["x"],"result":"ok"}"#,
            ),
            (
                Reply::Statistics(vec![("n".into(), Value::Integer(3)), ("f".into(), Value::Float(0.5))]),
                "1 d6:result2:ok10:statisticsd1:ni3e1:f3:0.5ee",
                r#"1 {"result":"ok","statistics":{"f":0.5,"n":3}}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(encode(b"1", &reply, Encoding::Bencode)).unwrap(), bencode);
            let text = String::from_utf8(encode(b"1", &reply, Encoding::Json)).unwrap();
            let (read, wanted) = (text.strip_prefix("1 ").unwrap(), json.strip_prefix("1 ").unwrap());
            let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(value(read), value(wanted), "the order of keys says nothing: {read}");
        }
    }

    fn sample(mos: f64, at: u64) -> Sample {
        Sample { mos, jitter: 4.6, loss: 1.4, round_trip: 30_000.4, round_trip_leg: 10_000.0, at }
    }

    /// By rtpengine's documentation of `query`, and what it answers.
    #[test]
    fn sources_are_told_as_rtpengine_does() {
        let source = Progress {
            ssrc: 3_735_928_559,
            samples: 2,
            sum: Sample {
                mos: 8.3,
                jitter: 9.2,
                loss: 2.8,
                round_trip: 60_000.0,
                round_trip_leg: 20_000.0,
                at: 0,
            },
            lowest: sample(4.0, 105),
            highest: sample(4.3, 100),
            progression: vec![sample(4.3, 100), sample(4.0, 105)],
            interval: 5,
            lost: 12,
        };
        let report =
            CallReport { sources: vec![source.clone(), source], created_micros: 7, ..Default::default() };
        let reply = Reply::Call { report: Some(Box::new(report)), warnings: Vec::new() };
        let json: serde_json::Value = serde_json::from_slice(&encode_plain(&reply, Encoding::Json)).unwrap();
        let expected = serde_json::json!({ "3735928559": {
            "cumulative loss": 12,
            "average MOS": { "MOS": 42, "round-trip time": 30000, "round-trip time leg": 10000, "jitter": 5,
                "packet loss": 1, "samples": 2 },
            "lowest MOS": { "MOS": 40, "round-trip time": 30000, "round-trip time leg": 10000, "jitter": 5,
                "packet loss": 1, "reported at": 105 },
            "highest MOS": { "MOS": 43, "round-trip time": 30000, "round-trip time leg": 10000, "jitter": 5,
                "packet loss": 1, "reported at": 100 },
            "MOS progression": { "interval": 5, "entries": [
                { "MOS": 43, "round-trip time": 30000, "round-trip time leg": 10000, "jitter": 5, "packet loss": 1,
                    "reported at": 100 },
                { "MOS": 40, "round-trip time": 30000, "round-trip time leg": 10000, "jitter": 5, "packet loss": 1,
                    "reported at": 105 },
            ] },
        } });
        assert_eq!(json["SSRC"], expected);
        assert_eq!(json["created_us"], 7);
    }

    #[test]
    fn tags_medias_and_streams_have_rtpengines_keys() {
        let stream = StreamReport {
            local_address: "192.0.2.9".parse().ok(),
            local_port: 30_000,
            endpoint: "192.0.2.1:4000".parse().ok(),
            advertised_endpoint: "192.0.2.1:4000".parse().ok(),
            crypto_suite: Some("AES_CM_128_HMAC_SHA1_80".into()),
            last_packet: 99,
            flags: vec!["RTP".into(), "filled".into()],
            stats: Counters { packets: 2, bytes: 344, errors: 1 },
            quality: Some(Quality { ssrc: 5, ..Default::default() }),
        };
        let media = MediaReport {
            index: 1,
            media_type: "audio".into(),
            protocol: "RTP/AVP".into(),
            codec: Some("PCMA/8000".into()),
            flags: vec!["initialized".into()],
            streams: vec![stream],
        };
        let tag = TagReport {
            tag: "a".into(),
            label: Some("caller".into()),
            offerer: true,
            via_branch: Some("z9".into()),
            created: 3,
            in_dialogue_with: Some("b".into()),
            medias: vec![media],
        };
        let report = Some(Box::new(CallReport { tags: vec![tag], ..Default::default() }));
        let reply = Reply::Call { report, warnings: Vec::new() };
        let json: serde_json::Value = serde_json::from_slice(&encode_plain(&reply, Encoding::Json)).unwrap();
        let peer = serde_json::json!([{ "tag": "b", "type": "offer/answer" }]);
        let endpoint = serde_json::json!({ "family": "IPv4", "address": "192.0.2.1", "port": 4000 });
        let expected = serde_json::json!({ "a": {
            "tag": "a", "label": "caller", "via-branch": "z9", "created": 3, "in dialogue with": "b",
            "subscriptions": peer, "subscribers": peer,
            "medias": [{
                "index": 1, "type": "audio", "protocol": "RTP/AVP", "codec": "PCMA/8000", "flags": ["initialized"],
                "streams": [{
                    "local port": 30000, "local address": "192.0.2.9", "family": "IPv4", "endpoint": endpoint,
                    "advertised endpoint": endpoint, "crypto suite": "AES_CM_128_HMAC_SHA1_80", "last packet": 99,
                    "flags": ["RTP", "filled"], "SSRC": 5, "stats": { "packets": 2, "bytes": 344, "errors": 1 },
                    "quality": { "SSRC": 5, "jitter": 0, "packets lost": 0 },
                }],
            }],
        } });
        assert_eq!(json["tags"], expected);
    }

    #[test]
    fn a_subscription_tells_whom_it_hears() {
        let media = |label: Option<&str>| SubscribedMedia {
            index: 1,
            media_type: "audio".into(),
            label: label.map(str::to_owned),
            mode: "sendrecv",
        };
        let source = |tag: &str, label: Option<&str>| SubscribedTag {
            tag: tag.into(),
            label: label.map(|_| "caller".into()),
            medias: vec![media(label)],
        };
        let show = |sources| {
            let it = Subscription { to_tag: "t".into(), sources, sdp: "v=0".into(), warnings: Vec::new() };
            let json = encode_plain(&Reply::Subscription(Box::new(it)), Encoding::Json);
            serde_json::from_slice::<serde_json::Value>(&json).unwrap()
        };
        let one = show(vec![source("a", None)]);
        assert_eq!(
            (&one["from-tag"], &one["to-tag"], &one["sdp"]),
            (&"a".into(), &"t".into(), &"v=0".into())
        );
        assert!(one.get("media-labels").is_none());
        let two = show(vec![source("a", Some("3")), source("b", Some("2"))]);
        assert!(two.get("from-tag").is_none());
        assert_eq!(two["from-tags"], serde_json::json!(["a", "b"]));
        let about = serde_json::json!({"index": 1, "type": "audio", "mode": "sendrecv", "tag": "b", "label": "caller"});
        assert_eq!(two["media-labels"]["2"], about);
        let medias = serde_json::json!([{"index": 1, "type": "audio", "mode": "sendrecv", "label": "3"}]);
        assert_eq!(
            two["tag-medias"][0],
            serde_json::json!({"tag": "a", "label": "caller", "medias": medias})
        );
    }

    #[test]
    fn a_query_has_rtpengines_keys() {
        let stream =
            StreamReport { local_port: 30000, endpoint: "192.0.2.1:4000".parse().ok(), ..Default::default() };
        let media =
            MediaReport { index: 1, media_type: "audio".into(), streams: vec![stream], ..Default::default() };
        let tag = TagReport {
            tag: "a".into(),
            in_dialogue_with: Some("b".into()),
            medias: vec![media],
            ..Default::default()
        };
        let unanswered = [TagReport::default(), TagReport::default()];
        let tags = std::iter::once(tag).chain(unanswered).collect();
        let report = Some(Box::new(CallReport { created: 5, tags, ..Default::default() }));
        let reply = Reply::Call { report, warnings: Vec::new() };
        let json: serde_json::Value = serde_json::from_slice(&encode_plain(&reply, Encoding::Json)).unwrap();
        assert_eq!(json["tags"]["a"]["in dialogue with"], "b");
        let stream = &json["tags"]["a"]["medias"][0]["streams"][0];
        assert_eq!((&stream["local port"], &stream["endpoint"]["port"]), (&30000.into(), &4000.into()));
        assert_eq!(json["totals"]["RTP"]["packets"], 0);
        let bencode = encode_plain(&reply, Encoding::Bencode);
        assert!(super::super::bencode::decode(&bencode).is_ok());
        let text = String::from_utf8(bencode).unwrap();
        assert_eq!(text.matches("0:d").count(), 1, "a key stands once: {text}");
    }
}
