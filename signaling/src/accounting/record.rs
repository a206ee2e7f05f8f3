//! What is recorded of a call.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use signaling_core::event::{Answerer, CallRecord, EndCause, Parties};

/// One call, from its INVITE to its end. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of the caller.
    pub from_tag: String,
    /// Tag of the callee; empty when nobody has made one.
    pub to_tag: String,
    /// When the INVITE came.
    pub start: u64,
    /// When it was answered; `None` when it was not.
    pub answer: Option<u64>,
    /// When it was over.
    pub end: u64,
    /// Seconds from the answer to the end.
    pub duration: f64,
    /// User of the caller's address.
    pub src_user: String,
    /// Its domain.
    pub src_domain: String,
    /// Where the INVITE came from.
    pub src_ip: Option<IpAddr>,
    /// User that was dialled.
    pub dst_ouser: String,
    /// User that the call was routed to.
    pub dst_user: String,
    /// Its domain.
    pub dst_domain: String,
    /// Where the answer came from.
    pub dst_ip: Option<IpAddr>,
    /// Status of the final response to the INVITE; 0 when there was none.
    pub sip_code: u16,
    /// Its reason phrase.
    pub sip_reason: String,
    /// Why it ended, in words.
    pub cause: String,
    /// Whether a user of ours has missed it.
    pub missed: bool,
    /// Which end has said BYE.
    pub ended_by: EndedBy,
    /// What was heard of the caller.
    pub src_media: Media,
    /// What was heard of the callee.
    pub dst_media: Media,
}

/// Who has ended a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The caller.
    Caller,
    /// The callee.
    Callee,
    /// Neither: it failed, or the gateway has ended it.
    #[default]
    Neither,
}

/// The media that one end has sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The first codec that it has agreed to.
    pub codec: Option<String>,
    /// Bytes of RTP received of it.
    pub bytes: Option<u64>,
    /// Packets likewise.
    pub packets: Option<u64>,
    /// Of those that it has sent, how many did not come, in per cent.
    pub loss: Option<f64>,
    /// Interarrival jitter at the end, in milliseconds (RFC 3550 §6.4.1).
    pub jitter: Option<f64>,
    /// Mean opinion score, 1 to 4.5 (ITU-T G.107).
    pub mos: Option<f64>,
}

/// What the relay has said of a call, by the tags of its ends.
#[derive(Debug, Default)]
pub struct Heard {
    /// Calls with this Call-ID that have no record yet.
    pub calls: usize,
    ends: Vec<(String, Media)>,
    complete: bool,
}

impl Record {
    /// A call that has just begun.
    #[must_use]
    pub fn new(call_id: &str, parties: &Parties, at: u64) -> Self {
        Self {
            call_id: call_id.to_owned(),
            from_tag: parties.from_tag.clone(),
            start: at,
            end: at,
            src_user: parties.src_user.clone(),
            src_domain: parties.src_domain.clone(),
            src_ip: Some(parties.src_ip),
            dst_ouser: parties.dst_ouser.clone(),
            dst_user: parties.dst_user.clone(),
            dst_domain: parties.dst_domain.clone(),
            missed: parties.to_user,
            ..Self::default()
        }
    }

    /// A call that was answered and is over.
    #[must_use]
    pub fn of_answered(call: &CallRecord) -> Self {
        let ended_by = match call.cause {
            EndCause::CallerBye => EndedBy::Caller,
            EndCause::CalleeBye => EndedBy::Callee,
            _ => EndedBy::Neither,
        };
        let duration = call.duration.as_secs_f64();
        Self {
            end: call.answered_at + call.duration.as_secs(),
            // The database keeps three decimals.
            duration: (duration * 1000.0).round() / 1000.0,
            cause: call.cause.as_str().to_owned(),
            ended_by,
            ..Self::new(&call.call_id, &call.parties, call.started_at)
                .answered(&call.answerer, call.answered_at)
        }
    }

    /// The same call after its 200.
    #[must_use]
    pub fn answered(self, answerer: &Answerer, at: u64) -> Self {
        Self {
            to_tag: answerer.to_tag.clone(),
            dst_ip: answerer.dst_ip,
            answer: Some(at),
            end: at,
            sip_code: 200,
            sip_reason: "OK".to_owned(),
            missed: false,
            ..self
        }
    }

    /// The same call after a final response that is none.
    #[must_use]
    pub fn failed(self, answerer: &Answerer, code: u16, reason: &str, at: u64) -> Self {
        let cause = format!("{code} {reason}");
        let sip_reason = reason.to_owned();
        Self { to_tag: answerer.to_tag.clone(), end: at, sip_code: code, sip_reason, cause, ..self }
    }

    /// The same call, when this process was not there for its end. `at` is when it was last.
    #[must_use]
    pub fn cut_short(self, at: u64) -> Self {
        let end = at.max(self.end);
        let duration = self.answer.map_or(0.0, |answer| end.saturating_sub(answer) as f64);
        Self { end, duration, cause: "gateway was killed".to_owned(), ..self }
    }

    /// Names it among all records.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{};{};{}", self.call_id, self.from_tag, self.start)
    }

    /// Takes what the relay has said.
    pub fn fill(&mut self, heard: &Heard) {
        for (tag, media) in &heard.ends {
            if *tag == self.from_tag {
                self.src_media = media.clone();
            } else if *tag == self.to_tag {
                self.dst_media = media.clone();
            }
        }
    }
}

impl Heard {
    /// The codec of the end with `tag`.
    pub fn codec(&mut self, tag: &str, codec: &str) {
        self.end(tag).codec = Some(codec.to_owned());
    }

    /// The relay's last word, if it has one. Audio is what quality is told of; all of an end's media count as bytes.
    pub fn report(&mut self, report: Option<&media::command::CallReport>) {
        self.complete = true;
        for tag in report.into_iter().flat_map(|report| &report.tags) {
            let streams = || tag.medias.iter().flat_map(|media| &media.streams);
            let audio = tag.medias.iter().find(|media| media.media_type == "audio").or(tag.medias.first());
            let quality = audio.and_then(|media| media.streams.first()).and_then(|stream| stream.quality);
            let of_audio =
                audio.and_then(|media| media.streams.first()).map_or(0, |stream| stream.stats.packets);
            let end = self.end(&tag.tag);
            end.bytes = Some(streams().map(|stream| stream.stats.bytes).sum());
            end.packets = Some(streams().map(|stream| stream.stats.packets).sum());
            if let Some(quality) = quality {
                let codec = audio.and_then(|media| media.codec.as_deref()?.split('/').next());
                end.loss = Some(quality.loss(of_audio) * 100.0);
                end.jitter = Some(quality.jitter.as_secs_f64() * 1000.0);
                end.mos = Some(quality.mos(of_audio, codec));
            }
        }
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether the relay has said its last word.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    fn end(&mut self, tag: &str) -> &mut Media {
        let at = self.ends.iter().position(|(known, _)| known == tag).unwrap_or_else(|| {
            self.ends.push((tag.to_owned(), Media::default()));
            self.ends.len() - 1
        });
        &mut self.ends[at].1
    }
}
