//! What is told about calls: ng's `query` and `statistics`.

use std::time::{Duration, Instant};

use super::Engine;
use crate::call::leg::{Leg, Line, Port};
use crate::call::plan::MediaKind;
use crate::command::{
    CallReport, Cause, Counters, LegKind, MediaReport, Quality, Query, RemoteQuality, Reply, StreamReport,
    TagReport, Value,
};
use crate::sockets::Sockets;

impl<S: Sockets> Engine<S> {
    pub(super) fn query(&self, now: Instant, query: &Query) -> Reply {
        let Some(&key) = self.by_id.get(query.call_id.as_str()) else {
            return Reply::error(Cause::UnknownCall, "unknown call-id");
        };
        match self.report(now, key, Some(query)) {
            Some(report) => Reply::Call { report: Some(Box::new(report)), warnings: Vec::new() },
            None => Reply::error(Cause::Internal, "the call is gone"),
        }
    }

    /// What is known of a call, or of the ends that `query` names.
    pub(super) fn report(&self, now: Instant, key: usize, query: Option<&Query>) -> Option<CallReport> {
        let call = self.calls.get(key)?;
        let mut report =
            CallReport { created: call.created, last_signal: call.last_signal, ..CallReport::default() };
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
            }
            report.rtp.errors += leg.dropped;
            report.tags.push(TagReport {
                tag: names.tag.unwrap_or_default(),
                label: names.label,
                created: call.created,
                in_dialogue_with: names.peer,
                medias: self.medias(now, leg),
            });
        }
        Some(report)
    }

    fn medias(&self, now: Instant, leg: &Leg) -> Vec<MediaReport> {
        leg.lines()
            .map(|(index, line)| MediaReport {
                index: index + 1,
                media_type: match line.kind {
                    MediaKind::Audio => "audio".to_owned(),
                    MediaKind::Video => "video".to_owned(),
                    MediaKind::Other => "image".to_owned(),
                },
                protocol: match leg.kind {
                    LegKind::Browser => "UDP/TLS/RTP/SAVPF".to_owned(),
                    LegKind::Legacy => "RTP/AVP".to_owned(),
                },
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
        let stream = |port: &Port, kind: &str, stats: Counters| StreamReport {
            local_port: port.port,
            endpoint: port.latch.target(),
            advertised_endpoint: port.latch.announced(),
            crypto_suite: None,
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

    /// Numbers of this worker under rtpengine's names.
    pub(super) fn statistics(&mut self, now: Instant) -> Vec<(String, Value)> {
        let free = self.ports.available(now);
        let stats = &self.paths.stats;
        let integer = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let current = vec![
            ("sessionstotal".to_owned(), integer(self.calls.len() as u64)),
            (
                "mediastreams".to_owned(),
                integer(self.paths.legs.iter().map(|(_, leg)| leg.lines().count() as u64).sum()),
            ),
            ("transcodedmedia".to_owned(), integer(self.paths.transcoded_media())),
            ("portsfree".to_owned(), integer(2 * free as u64)),
            ("portstotal".to_owned(), integer(2 * self.ports.total() as u64)),
        ];
        let total = vec![
            ("managedsessions".to_owned(), integer(stats.calls_ended)),
            ("timeoutsessions".to_owned(), integer(stats.calls_timed_out)),
            ("relayedpackets".to_owned(), integer(stats.forwarded)),
            ("receivedpackets".to_owned(), integer(stats.received)),
            ("relayedpacketerrors".to_owned(), integer(stats.dropped)),
            ("transcodedpackets".to_owned(), integer(stats.transcoded)),
            ("concealedpackets".to_owned(), integer(stats.concealed)),
            ("unsendablepackets".to_owned(), integer(stats.unsendable)),
            ("receivedrtcp".to_owned(), integer(stats.rtcp_received)),
            ("sentrtcp".to_owned(), integer(stats.rtcp_sent)),
            ("dtlsconnected".to_owned(), integer(stats.dtls_connected)),
            ("dtlsfailed".to_owned(), integer(stats.dtls_failed)),
        ];
        vec![
            ("currentstatistics".to_owned(), Value::Dictionary(current)),
            ("totalstatistics".to_owned(), Value::Dictionary(total)),
        ]
    }
}

fn quality(line: &Line) -> Option<Quality> {
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

fn line_flags(leg: &Leg, line: &Line) -> Vec<String> {
    let mut flags = vec!["initialized".to_owned()];
    if leg.secure.is_some() {
        flags.extend(["ICE", "DTLS-SRTP", "rtcp-mux"].map(str::to_owned));
    } else if line.rtcp_mux {
        flags.push("rtcp-mux".to_owned());
    }
    if line.routes.iter().any(|route| route.open) {
        flags.push("send".to_owned());
    }
    flags
}

fn add(sum: &mut Counters, more: &Counters) {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.errors += more.errors;
}
