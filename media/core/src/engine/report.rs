//! What is told about one call: ng's `query`.

use std::time::{Duration, Instant};

use super::{Call, Engine};
use crate::call::leg::{Leg, Line, Port};
use crate::call::plan::MediaKind;
use crate::command::{
    CallReport, Cause, Counters, LegKind, MediaReport, Quality, Query, RemoteQuality, Reply, StreamReport,
    TagReport,
};
use crate::sdp::Codec;
use crate::sockets::Sockets;
use crate::srtp::SrtpContext;

impl<S: Sockets> Engine<S> {
    pub(super) fn query(&mut self, now: Instant, query: &Query) -> Reply {
        let Some(&key) = self.by_id.get(query.call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        self.measure_call(now, key);
        match self.report(now, key, Some(query)) {
            Some(report) => Reply::Call { report: Some(Box::new(report)), warnings: Vec::new() },
            None => Reply::error(Cause::Internal, "the call is gone"),
        }
    }

    /// What is known of a call, or of the ends that `query` names.
    pub(super) fn report(&self, now: Instant, key: usize, query: Option<&Query>) -> Option<CallReport> {
        let call = self.calls.get(key)?;
        let mut report = CallReport {
            created: call.created,
            created_micros: call.created_micros,
            last_signal: call.last_signal,
            proxy: call.proxy,
            ending: !call.ending.is_empty(),
            age: now.saturating_duration_since(call.begun),
            ..CallReport::default()
        };
        for (id, leg) in &call.legs {
            let Some(leg) = self.paths.legs.get(*leg) else { continue };
            let names = call.session.names(*id);
            let wanted = |tag: &Option<String>| tag.is_none() || *tag == names.tag;
            if query.is_some_and(|query| {
                !(wanted(&query.from_tag) || (query.to_tag.is_some() && wanted(&query.to_tag)))
            }) {
                continue;
            }
            for (_, line) in leg.lines() {
                add(&mut report.rtp, &line.received);
                add(&mut report.rtcp, &line.received_rtcp);
                report.sources.extend_from_slice(line.quality.sources());
            }
            report.rtp.errors += leg.dropped;
            report.tags.push(TagReport {
                tag: names.tag.unwrap_or_default(),
                label: names.label,
                offerer: names.offerer,
                via_branch: names.branch,
                created: call.created,
                in_dialogue_with: names.peer,
                medias: self.medias(now, call, leg),
            });
        }
        Some(report)
    }

    fn medias(&self, now: Instant, call: &Call, leg: &Leg) -> Vec<MediaReport> {
        leg.lines()
            .map(|(index, line)| MediaReport {
                index: index + 1,
                media_type: words_of(call, leg, index, line)[0].to_owned(),
                protocol: words_of(call, leg, index, line)[1].to_owned(),
                codec: codec_of(call, leg, index, line).map(with_parameters),
                flags: line_flags(leg, line),
                streams: self.streams(now, leg, line),
            })
            .collect()
    }

    fn streams(&self, now: Instant, leg: &Leg, line: &Line) -> Vec<StreamReport> {
        let last_packet = line
            .last_rtp
            .map_or(0, |at| self.unix(now).saturating_sub(now.saturating_duration_since(at)).as_secs());
        if let Some(secure) = &leg.secure {
            return vec![StreamReport {
                local_address: Some(leg.address),
                local_port: secure.port,
                endpoint: secure.address(),
                advertised_endpoint: None,
                crypto_suite: secure.srtp.as_ref().map(|srtp| srtp.profile().sdes_name().to_owned()),
                last_packet,
                flags: ["RTP", "RTCP", "rtcp-mux", "DTLS", "ICE"].map(str::to_owned).to_vec(),
                stats: line.received,
                quality: quality(line),
            }];
        }
        let own = line.own.as_ref().and_then(|own| own.srtp.as_ref());
        let suite = own.map(SrtpContext::profile);
        let stream = |port: &Port, kind: &str, stats: Counters| StreamReport {
            local_address: Some(leg.address),
            local_port: port.port,
            endpoint: port.latch.target(),
            advertised_endpoint: port.latch.announced(),
            crypto_suite: suite.map(|profile| profile.sdes_name().to_owned()),
            last_packet: if kind == "RTP" { last_packet } else { 0 },
            flags: [
                Some(kind),
                port.latch.announced().map(|_| "filled"),
                port.latch.is_fixed().then_some("confirmed"),
            ]
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect(),
            stats,
            quality: if kind == "RTP" { quality(line) } else { None },
        };
        let rtp = line.rtp.as_ref().map(|port| stream(port, "RTP", line.received));
        let rtcp = line.rtcp.as_ref().map(|port| stream(port, "RTCP", line.received_rtcp));
        rtp.into_iter().chain(rtcp).collect()
    }
}

/// What was measured of what an end sends on a line; `None` before it has sent anything.
pub(super) fn quality(line: &Line) -> Option<Quality> {
    let ssrc = line.reception.ssrc()?;
    let view = line.remote_view;
    let clock = line.sink.clock();
    let remote = view.filter(|_| clock > 0).map(|view| RemoteQuality {
        jitter: Duration::from_secs_f64(f64::from(view.jitter) / f64::from(clock)),
        lost: view.cumulative_lost,
        fraction_lost: view.fraction_lost,
    });
    Some(Quality {
        ssrc,
        jitter: line.reception.jitter(),
        lost: line.reception.lost(),
        round_trip: view.and_then(|view| view.round_trip),
        remote,
    })
}

/// The media and the protocol of a line by the words of its end; before it has said any, what we take it for.
fn words_of<'a>(call: &'a Call, leg: &Leg, index: usize, line: &Line) -> [&'a str; 2] {
    if let Some(media) = call.session.said_of(leg.id, index) {
        return [&media.media_word, &media.protocol];
    }
    let word = match line.kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
        MediaKind::Other => "image",
    };
    let protocol = match leg.kind {
        LegKind::Browser => "UDP/TLS/RTP/SAVPF",
        LegKind::Legacy => "RTP/AVP",
    };
    [word, protocol]
}

/// What an end sends on a line, by its own words.
pub(super) fn codec_of<'a>(call: &'a Call, leg: &Leg, index: usize, line: &Line) -> Option<&'a Codec> {
    call.session.codec(leg.id, index, line.last_payload_type?)
}

/// As in `a=rtpmap` (RFC 8866 §6.6).
fn with_parameters(codec: &Codec) -> String {
    match codec.channels {
        0 | 1 => format!("{}/{}", codec.name, codec.clock),
        channels => format!("{}/{}/{channels}", codec.name, codec.clock),
    }
}

fn line_flags(leg: &Leg, line: &Line) -> Vec<String> {
    let mut flags = vec!["initialized".to_owned()];
    if leg.secure.is_some() {
        flags.extend(["ICE", "DTLS-SRTP", "rtcp-mux"].map(str::to_owned));
    } else if line.rtcp_mux {
        flags.push("rtcp-mux".to_owned());
    }
    if let Some(own) = &line.own {
        let words = [
            (own.dtls.is_some(), "DTLS-SRTP"),
            (own.dtls.is_none() && own.required, "SDES"),
            (own.ice.is_some(), "ICE"),
        ];
        flags.extend(words.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()));
    }
    let routes = || line.routes.iter();
    let words = [
        (routes().any(|route| route.open), "send"),
        (routes().any(|route| route.transcoding.as_ref().is_some_and(|it| it.current)), "transcoding"),
    ];
    flags.extend(words.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()));
    flags
}

fn add(sum: &mut Counters, more: &Counters) {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.errors += more.errors;
}
