//! A relay whose exchanges are listened to, for the records of calls: which codecs were agreed on, and what was counted.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use signaling_core::outside::{MediaControl, MediaError, MediaExchange};

use super::MediaLink;
use crate::accounting::Accounting;

/// See the module.
pub(super) struct Listened {
    link: MediaLink,
    accounting: Accounting,
}

impl Listened {
    pub(super) fn new(link: MediaLink, accounting: Accounting) -> Self {
        if link.in_process().is_some() {
            accounting.expect_reports();
        }
        Self { link, accounting }
    }

    fn note(&self, call_id: &str, tag: &str, sdp: &[u8]) {
        if let Some(codec) = first_codec(sdp) {
            self.accounting.note_codec(call_id, tag, &codec);
        }
    }
}

impl MediaControl for Listened {
    fn offer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        self.link.door().offer(exchange)
    }

    fn answer<'a>(&'a self, exchange: MediaExchange) -> LocalBoxFuture<'a, Result<Bytes, MediaError>> {
        Box::pin(async move {
            let (call_id, said) = (exchange.call_id.clone(), exchange.sdp.clone());
            let (offerer, answerer) = (exchange.offerer_tag.clone(), exchange.answerer_tag.clone());
            let passed = self.link.door().answer(exchange).await?;
            if let Some(answerer) = answerer {
                self.note(&call_id, &answerer, &said);
            }
            // What the offerer is told is what he will send.
            self.note(&call_id, &offerer, &passed);
            Ok(passed)
        })
    }

    fn play(&self, call_id: &str, tag: &str, file: &str, forever: bool) {
        self.link.door().play(call_id, tag, file, forever);
    }

    fn announce<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        file: &'a str,
    ) -> LocalBoxFuture<'a, Result<Duration, MediaError>> {
        self.link.door().announce(call_id, tag, file)
    }

    fn press<'a>(
        &'a self,
        call_id: &'a str,
        tag: &'a str,
        code: u8,
        duration: Duration,
    ) -> LocalBoxFuture<'a, Result<(), MediaError>> {
        self.link.door().press(call_id, tag, code, duration)
    }

    fn stop(&self, call_id: &str, tag: &str) {
        self.link.door().stop(call_id, tag);
    }

    fn record(&self, call_id: &str, from_tag: &str) {
        self.link.door().record(call_id, from_tag);
    }

    fn delete(&self, call_id: &str, from_tag: &str, branch: Option<&str>) {
        if branch.is_some() {
            return self.link.door().delete(call_id, from_tag, branch);
        }
        let (report, accounting) = (self.link.end(call_id, from_tag), self.accounting.clone());
        let Some(report) = report else {
            // Nothing is to be waited for.
            return accounting.note_report(call_id, None);
        };
        let call_id = call_id.to_owned();
        tokio::spawn(async move {
            accounting.note_report(&call_id, report.await.as_deref());
        });
    }
}

/// The encoding name of the first format of the first stream of audio, or of anything when there is no audio.
fn first_codec(sdp: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(sdp).ok()?;
    let streams = || text.split("\nm=").skip(1).filter(|stream| stream.split(' ').nth(1) != Some("0"));
    let stream = streams().find(|stream| stream.starts_with("audio")).or_else(|| streams().next())?;
    let format = stream.lines().next()?.split_whitespace().nth(3)?;
    let named = stream.lines().find_map(|line| {
        let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        (number == format).then(|| name.split('/').next().unwrap_or(name).trim().to_owned())
    });
    // RFC 3551 table 4: those that need no rtpmap.
    let well_known = match format {
        "0" => Some("PCMU"),
        "3" => Some("GSM"),
        "4" => Some("G723"),
        "8" => Some("PCMA"),
        "9" => Some("G722"),
        "18" => Some("G729"),
        _ => None,
    };
    named.or_else(|| well_known.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_is_that_of_the_first_audio_that_is_on() {
        let table = [
            ("v=0\r\nm=audio 4000 RTP/AVP 8 0\r\n", Some("PCMA")),
            (
                "v=0\r\nm=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\nm=audio 4002 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n",
                Some("opus"),
            ),
            ("v=0\r\nm=audio 0 RTP/AVP 0\r\nm=image 4000 udptl t38\r\n", None),
            ("v=0\r\nm=audio", None),
            ("v=0\r\n", None),
        ];
        for (sdp, expected) in table {
            assert_eq!(first_codec(sdp.as_bytes()).as_deref(), expected, "{sdp}");
        }
    }
}
