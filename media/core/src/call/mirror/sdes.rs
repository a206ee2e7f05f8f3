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
    /// Suites of ng `SDES: offerer_pref` of the end's offer, the best first.
    preferred: Vec<String>,
}

/// The lines of `heard` that can be spoken: nothing is switched off.
fn usable(heard: &[Crypto]) -> impl Iterator<Item = &Crypto> {
    heard.iter().filter(|crypto| crypto.parameters.is_empty() && key(crypto).is_some())
}

fn key(crypto: &Crypto) -> Option<MasterKey> {
    let key = MasterKey::from_sdes(Profile::from_sdes_name(&crypto.suite)?, &crypto.key).ok()?;
    match &crypto.mki {
        Some(mki) => key.with_mki(mki),
        None => Some(key),
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
    /// What the controller wished with the offer of this end holds for the answer to it too.
    pub(super) fn note(&mut self, wish: &Sdes) {
        self.not.clone_from(&wish.not);
        self.preferred.clone_from(&wish.offerer_pref);
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
        let mut offer: Vec<Crypto> = usable(sender).filter(|it| allowed(&it.suite)).cloned().collect();
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
        offer.iter_mut().for_each(|crypto| finish(crypto, wish));
        self.told.clone_from(&offer);
        offer
    }

    /// Takes the answer of an end that was offered keys; whether one of them was chosen.
    pub(super) fn take_answer(&mut self, answer: &[Crypto]) -> bool {
        let chosen = usable(answer).find_map(|theirs| {
            let same_suite = |ours: &&Crypto| ours.suite.eq_ignore_ascii_case(&theirs.suite);
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
            .find_map(|name| usable(&self.heard).find(|it| it.suite.eq_ignore_ascii_case(name)).cloned());
        let fits =
            |other: &&Crypto| preferred.as_ref().is_none_or(|it| it.suite.eq_ignore_ascii_case(&other.suite));
        let passing = other.filter(fits).and_then(|other| {
            let theirs = usable(&self.heard).find(|it| it.suite.eq_ignore_ascii_case(&other.suite))?;
            let mki = other.mki.clone();
            Some((Crypto { mki, ..line(theirs.tag, &theirs.suite, other.key.clone()) }, theirs.clone()))
        });
        let (mut ours, theirs) = match passing {
            Some(passing) => passing,
            None => {
                let first = || usable(&self.heard).find(|it| !named(&self.not, &it.suite)).cloned();
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

fn line(tag: u32, suite: &str, key: String) -> Crypto {
    Crypto { tag, suite: suite.to_owned(), key, lifetime: None, mki: None, parameters: Vec::new() }
}

fn finish(crypto: &mut Crypto, wish: &Sdes) {
    crypto.key = inline(&crypto.key, wish);
    crypto.lifetime = wish.lifetime.then(|| "2^31".to_owned());
}
