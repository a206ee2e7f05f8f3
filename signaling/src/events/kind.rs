//! The kinds of events that others are told of.

use signaling_core::event::{AuthFailure, Event};

macro_rules! kinds {
    ($($(#[$meaning:meta])* $name:ident $word:literal $about:literal;)*) => {
        /// What an event is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$meaning])* $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What it tells of, for a person.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)*
                }
            }
        }
    };
}

kinds! {
    /// Passwords are guessed: a user or an address is not believed any more for a while.
    AuthBlock "auth_block" "blocks of users and addresses for refused passwords";
    /// A source or a user sends too much.
    Flood "flood" "sources and users that sent too much, and are banned";
    /// A request was dropped: a scanner, SQL, or somebody on a list.
    Secfilter "secfilter" "requests dropped: scanners, SQL, and whoever is on a list";
    /// A number was called that is not for everybody.
    Premium "premium" "calls to numbers that are barred or cost much";
    /// A limit of the day was reached.
    Toll "toll" "calls refused or ended for a limit of the day";
    /// A call was let through to its callee.
    CallStarted "call_started" "calls let through to their callees";
    /// The first contact rings.
    CallRinging "call_ringing" "calls that ring";
    /// A contact has answered.
    CallAnswered "call_answered" "calls that are answered";
    /// An answered call is over.
    CallEnded "call_ended" "answered calls that are over, with cause and quality";
    /// Nobody has answered a call.
    CallFailed "call_failed" "calls that nobody has answered";
    /// A contact was bound that was not before.
    Registered "registered" "contacts that have registered";
    /// A contact was removed by its owner.
    Unregistered "unregistered" "contacts that have signed off";
    /// A contact has ended otherwise.
    RegistrationExpired "registration_expired" "contacts that have ended otherwise";
    /// A relay does not answer any more.
    RelayDown "relay_down" "relays that do not answer any more";
    /// It answers again.
    RelayUp "relay_up" "relays that answer again";
    /// New requests are refused for want of time.
    Overload "overload" "new requests are refused for want of time";
    /// They are served again.
    OverloadEnded "overload_ended" "requests are served again";
}

impl Kind {
    /// Those that attackers cause, which is why the same one is told once in a while only. They come first in [`Kind::ALL`].
    pub const ALARMS: [Self; 5] = [Self::AuthBlock, Self::Flood, Self::Secfilter, Self::Premium, Self::Toll];

    /// The one with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }

    /// Whether it is one of [`Kind::ALARMS`].
    #[must_use]
    pub fn is_alarm(self) -> bool {
        Self::ALARMS.contains(&self)
    }

    /// What an event is; `None` where nobody is told.
    #[must_use]
    pub const fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::AuthFailed { reason: AuthFailure::BlockedNow, .. } => Self::AuthBlock,
            Event::Flooded { .. } | Event::UserFlooded { .. } => Self::Flood,
            Event::Dropped { .. } => Self::Secfilter,
            Event::Barred { .. } => Self::Premium,
            Event::TollReached { .. } => Self::Toll,
            Event::CallInvited { .. } => Self::CallStarted,
            Event::CallRinging { .. } => Self::CallRinging,
            Event::CallAnswered { .. } => Self::CallAnswered,
            Event::CallEnded(_) => Self::CallEnded,
            Event::CallFailed { .. } => Self::CallFailed,
            Event::Registered { renewed: false, .. } => Self::Registered,
            Event::Unregistered { .. } => Self::Unregistered,
            Event::Expired { .. } => Self::RegistrationExpired,
            Event::RelayDown { .. } => Self::RelayDown,
            Event::RelayUp { .. } => Self::RelayUp,
            Event::Overloaded { .. } => Self::Overload,
            Event::OverloadEnded { .. } => Self::OverloadEnded,
            _ => return None,
        })
    }
}

/// Some kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u32);

impl Kinds {
    /// All that there are.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// A bit for each.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether `kind` is one of them.
    #[must_use]
    pub const fn contain(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// Those that words name.
    ///
    /// # Errors
    /// A word is none's.
    pub fn named<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let kind = |word| Kind::named(word).ok_or_else(|| format!("{word:?} is no kind of event"));
        words.into_iter().map(kind).collect()
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | (1 << kind as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_and_a_bit() {
        assert!(Kind::ALL.iter().all(|kind| Kind::named(kind.as_str()) == Some(*kind)));
        assert!(Kind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        assert_eq!(Kind::ALARMS, Kind::ALL[..5]);
        assert_eq!(Kind::ALL.iter().copied().collect::<Kinds>(), Kinds::ALL);
        let some = Kinds::named(["flood", "relay_up"]).unwrap();
        let contained: Vec<_> = Kind::ALL.iter().filter(|kind| some.contain(**kind)).collect();
        assert_eq!(contained, [&Kind::Flood, &Kind::RelayUp]);
        assert!(Kinds::named(["flood", "nothing"]).unwrap_err().contains("\"nothing\""));
    }
}
