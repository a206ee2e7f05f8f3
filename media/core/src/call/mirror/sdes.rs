//! Keys of RFC 4568: which lines an end is offered and answered, and what was agreed.

use crate::call::plan::{Protection, Transports};
use crate::command::Sdes;
use crate::sdp::Crypto;
use crate::srtp::{MasterKey, Profile};

/// What an end and we told each other of keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// The end's lines in its latest SDP.
    pub(super) heard: Vec<Crypto>,
    /// Ours in the latest SDP to the end.
    pub(super) told: Vec<Crypto>,
    /// What is in force: our line, and the end's.
    pub(super) agreed: Option<(Crypto, Crypto)>,
    /// ng `SDES: off` towards this end; later offers need not repeat it.
    pub(super) off: bool,
    /// Suites of ng `SDES: no-…` of the end's offer.
    not: Vec<String>,
    /// Lines without authentication may be spoken (ng `SDES: unauthenticated_srtp`).
    unauthenticated: bool,
    /// Suites of ng `SDES: offerer_pref` of the end's offer, the best first.
    preferred: Vec<String>,
}

const UNENCRYPTED_SRTP: &str = "UNENCRYPTED_SRTP";
const UNENCRYPTED_SRTCP: &str = "UNENCRYPTED_SRTCP";
const UNAUTHENTICATED_SRTP: &str = "UNAUTHENTICATED_SRTP";

fn key(crypto: &Crypto) -> Option<MasterKey> {
    let key = MasterKey::from_sdes(Profile::from_sdes_name(&crypto.suite)?, &crypto.key).ok()?;
    let key = key.with_parameters(&crypto.parameters)?;
    match &crypto.mki {
        Some(mki) => key.with_mki(mki),
        None => Some(key),
    }
}

/// The lines of `heard` that can be spoken.
fn usable(heard: &[Crypto], unauthenticated: bool) -> impl Iterator<Item = &Crypto> {
    let allowed = move |crypto: &Crypto| {
        unauthenticated || !crypto.parameters.iter().any(|parameter| parameter == UNAUTHENTICATED_SRTP)
    };
    heard.iter().filter(move |crypto| allowed(crypto) && key(crypto).is_some())
}

/// The session parameters of a line for the receiver, where the controller minds (RFC 4568 §6.3). AEAD has none of them.
fn parameters(crypto: &mut Crypto, wish: &Sdes) {
    for (name, wanted) in [
        (UNENCRYPTED_SRTP, wish.unencrypted_srtp),
        (UNENCRYPTED_SRTCP, wish.unencrypted_srtcp),
        (UNAUTHENTICATED_SRTP, wish.unauthenticated_srtp),
    ] {
        let Some(wanted) = wanted else { continue };
        crypto.parameters.retain(|parameter| parameter != name);
        if wanted && !crypto.suite.starts_with("AEAD_") {
            crypto.parameters.push(name.to_owned());
        }
    }
}

fn named(list: &[String], suite: &str) -> bool {
    list.iter().any(|name| name.eq_ignore_ascii_case(suite))
}

/// Base64 as the controller wants it: rtpengine leaves the padding out.
fn inline(key: &str, wish: &Sdes) -> String {
    let bare = key.trim_end_matches('=');
    let padding = if wish.pad { (4 - bare.len() % 4) % 4 } else { 0 };
    format!("{bare}{}", "=".repeat(padding))
}

impl Keys {
    /// The end's lines that can be spoken.
    fn usable(&self) -> impl Iterator<Item = &Crypto> {
        usable(&self.heard, self.unauthenticated)
    }

    /// What the controller wished with the offer of this end holds for the answer to it too.
    pub(super) fn note(&mut self, wish: &Sdes) {
        self.not.clone_from(&wish.not);
        self.preferred.clone_from(&wish.offerer_pref);
        self.unauthenticated = wish.unauthenticated_srtp == Some(true);
    }

    /// The lines to offer to this end: those of `sender`, whose keys pass, then the suites it has not.
    pub(super) fn offer(
        &mut self,
        sender: &[Crypto],
        wish: &Sdes,
        transports: &mut dyn Transports,
    ) -> Vec<Crypto> {
        let allowed =
            |suite: &str| !named(&wish.not, suite) && (wish.only.is_empty() || named(&wish.only, suite));
        let mut offer: Vec<Crypto> = usable(sender, wish.unauthenticated_srtp.is_some())
            .filter(|it| allowed(&it.suite))
            .cloned()
            .collect();
        if offer.is_empty() {
            offer.extend(self.agreed.iter().map(|(ours, _)| ours.clone()).filter(|it| allowed(&it.suite)));
        }
        let mut tag = offer.iter().map(|crypto| crypto.tag).max().unwrap_or(0);
        let more = Profile::ALL.into_iter().filter(|_| !wish.no_new || offer.is_empty()).collect::<Vec<_>>();
        for profile in more {
            let suite = profile.sdes_name();
            if !allowed(suite) || offer.iter().any(|crypto| crypto.suite.eq_ignore_ascii_case(suite)) {
                continue;
            }
            tag = tag.saturating_add(1);
            // An offer that is repeated names the same keys.
            let known =
                self.told.iter().find(|crypto| crypto.suite == suite).map(|crypto| crypto.key.clone());
            let key = known.unwrap_or_else(|| transports.fresh_key(profile).to_sdes());
            offer.push(line(tag, suite, key));
        }
        let place = |crypto: &Crypto| {
            wish.order.iter().position(|name| name.eq_ignore_ascii_case(&crypto.suite)).unwrap_or(usize::MAX)
        };
        offer.sort_by_key(place);
        for crypto in &mut offer {
            parameters(crypto, wish);
            finish(crypto, wish);
        }
        self.told.clone_from(&offer);
        offer
    }

    /// Takes the answer of an end that was offered keys; whether one of them was chosen.
    pub(super) fn take_answer(&mut self, answer: &[Crypto]) -> bool {
        let chosen = usable(answer, true).find_map(|theirs| {
            // Session parameters are agreed on as the suite is: an answer without one of ours means something else.
            let same_suite = |ours: &&Crypto| {
                ours.suite.eq_ignore_ascii_case(&theirs.suite) && leaves_out(ours) == leaves_out(theirs)
            };
            let by_tag = self.told.iter().find(|ours| ours.tag == theirs.tag && same_suite(ours));
            let ours = by_tag.or_else(|| self.told.iter().find(same_suite))?;
            Some((ours.clone(), theirs.clone()))
        });
        self.agreed = chosen;
        self.agreed.is_some()
    }

    /// Our answer to this end, whose offer was `self.heard`. `other` is what the other end answered with: of the same suite,
    /// its key passes.
    pub(super) fn answer(
        &mut self,
        other: Option<&Crypto>,
        wish: &Sdes,
        transports: &mut dyn Transports,
    ) -> Option<Crypto> {
        let still = |(ours, theirs): &(Crypto, Crypto)| {
            self.heard.iter().find(|it| it.tag == theirs.tag && it.suite == ours.suite).cloned()
        };
        let kept = self.agreed.as_ref().and_then(|agreed| Some((agreed.0.clone(), still(agreed)?)));
        if wish.fixed && kept.is_some() {
            self.agreed = kept;
            return self.agreed.as_ref().map(|(ours, _)| ours.clone());
        }
        let preferred = self
            .preferred
            .iter()
            .find_map(|name| self.usable().find(|it| it.suite.eq_ignore_ascii_case(name)).cloned());
        let fits =
            |other: &&Crypto| preferred.as_ref().is_none_or(|it| it.suite.eq_ignore_ascii_case(&other.suite));
        let passing = other.filter(fits).and_then(|other| {
            let theirs = self.usable().find(|it| it.suite.eq_ignore_ascii_case(&other.suite))?;
            let mki = other.mki.clone();
            Some((Crypto { mki, ..line(theirs.tag, &theirs.suite, other.key.clone()) }, theirs.clone()))
        });
        let (mut ours, theirs) = match passing {
            Some(passing) => passing,
            None => {
                let first = || self.usable().find(|it| !named(&self.not, &it.suite)).cloned();
                let theirs = preferred.clone().or_else(first)?;
                let own = other.is_none() || preferred.is_some();
                let known = kept.filter(|(ours, _)| ours.suite == theirs.suite && own);
                let key = match known {
                    Some((ours, _)) => ours.key,
                    None => transports.fresh_key(Profile::from_sdes_name(&theirs.suite)?).to_sdes(),
                };
                (line(theirs.tag, &theirs.suite, key), theirs)
            }
        };
        ours.parameters.clone_from(&theirs.parameters);
        finish(&mut ours, wish);
        self.told = vec![ours.clone()];
        self.agreed = Some((ours.clone(), theirs));
        Some(ours)
    }

    /// What is in force for packets.
    pub(super) fn protection(&self) -> Option<Protection> {
        let (ours, theirs) = self.agreed.as_ref()?;
        Some(Protection::Sdes { local: key(ours)?, remote: key(theirs)? })
    }
}

/// What a line leaves out.
fn leaves_out(crypto: &Crypto) -> [bool; 3] {
    [UNENCRYPTED_SRTP, UNENCRYPTED_SRTCP, UNAUTHENTICATED_SRTP]
        .map(|name| crypto.parameters.iter().any(|parameter| parameter == name))
}

fn line(tag: u32, suite: &str, key: String) -> Crypto {
    Crypto { tag, suite: suite.to_owned(), key, lifetime: None, mki: None, parameters: Vec::new() }
}

fn finish(crypto: &mut Crypto, wish: &Sdes) {
    crypto.key = inline(&crypto.key, wish);
    crypto.lifetime = wish.lifetime.then(|| "2^31".to_owned());
}
