//! Header field names: one table of canonical spelling, compact form and whether commas separate values.

use std::fmt;

macro_rules! names {
    ($($variant:ident $text:literal $compact:literal $list:literal),* $(,)?) => {
        /// The name of a header field, compared without case and with compact forms (RFC 3261 §7.3.1, §7.3.3).
        #[derive(Debug, Clone, Copy)]
        pub enum Name<'a> {
            $(#[doc = concat!("`", $text, "`.")] $variant,)*
            /// Any other name.
            Other(&'a str),
        }

        /// Every known name: itself, its spelling, its compact form (0: none), whether commas separate values.
        const TABLE: &[(Name<'static>, &str, u8, bool)] = &[$((Name::$variant, $text, $compact, $list)),*];

        /// The places of the known names in [`TABLE`].
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Place {
            $($variant,)*
        }

        impl<'a> Name<'a> {
            /// The canonical spelling.
            #[inline]
            #[must_use]
            pub const fn as_str(&self) -> &'a str {
                match self { $(Self::$variant => $text,)* Self::Other(text) => text }
            }

            /// Whether commas separate values of this field (RFC 3261 §7.3.1). Not so for credentials and challenges,
            /// whose parameters are separated by commas, nor for dates and free text.
            #[must_use]
            pub const fn is_list(&self) -> bool {
                match self { $(Self::$variant => $list,)* Self::Other(_) => false }
            }

            /// What a field keeps of it.
            #[inline]
            pub(crate) fn id(&self) -> NameId {
                match self {
                    $(Self::$variant => NameId(Place::$variant as u8),)*
                    Self::Other(text) => NameId::of(text.as_bytes()),
                }
            }
        }
    };
}

names! {
    Accept "Accept" 0 true,
    AcceptContact "Accept-Contact" b'a' true,
    AcceptEncoding "Accept-Encoding" 0 true,
    AcceptLanguage "Accept-Language" 0 true,
    AlertInfo "Alert-Info" 0 true,
    Allow "Allow" 0 true,
    AllowEvents "Allow-Events" b'u' true,
    AuthenticationInfo "Authentication-Info" 0 false,
    Authorization "Authorization" 0 false,
    CallId "Call-ID" b'i' false,
    CallInfo "Call-Info" 0 true,
    Contact "Contact" b'm' true,
    ContentDisposition "Content-Disposition" 0 false,
    ContentEncoding "Content-Encoding" b'e' true,
    ContentLanguage "Content-Language" 0 true,
    ContentLength "Content-Length" b'l' false,
    ContentType "Content-Type" b'c' false,
    CSeq "CSeq" 0 false,
    Date "Date" 0 false,
    Diversion "Diversion" 0 true,
    ErrorInfo "Error-Info" 0 true,
    Event "Event" b'o' false,
    Expires "Expires" 0 false,
    FlowTimer "Flow-Timer" 0 false,
    From "From" b'f' false,
    HistoryInfo "History-Info" 0 true,
    InReplyTo "In-Reply-To" 0 true,
    Join "Join" 0 false,
    MaxBreadth "Max-Breadth" 0 false,
    MaxForwards "Max-Forwards" 0 false,
    MimeVersion "MIME-Version" 0 false,
    MinExpires "Min-Expires" 0 false,
    MinSe "Min-SE" 0 false,
    Organization "Organization" 0 false,
    PAssertedIdentity "P-Asserted-Identity" 0 true,
    PPreferredIdentity "P-Preferred-Identity" 0 true,
    Path "Path" 0 true,
    Priority "Priority" 0 false,
    Privacy "Privacy" 0 false,
    ProxyAuthenticate "Proxy-Authenticate" 0 false,
    ProxyAuthorization "Proxy-Authorization" 0 false,
    ProxyRequire "Proxy-Require" 0 true,
    RAck "RAck" 0 false,
    RSeq "RSeq" 0 false,
    Reason "Reason" 0 true,
    RecordRoute "Record-Route" 0 true,
    ReferTo "Refer-To" b'r' false,
    ReferredBy "Referred-By" b'b' false,
    Replaces "Replaces" 0 false,
    ReplyTo "Reply-To" 0 false,
    Require "Require" 0 true,
    RetryAfter "Retry-After" 0 false,
    Route "Route" 0 true,
    Server "Server" 0 false,
    ServiceRoute "Service-Route" 0 true,
    SessionExpires "Session-Expires" b'x' false,
    SipEtag "SIP-ETag" 0 false,
    SipIfMatch "SIP-If-Match" 0 false,
    Subject "Subject" b's' false,
    SubscriptionState "Subscription-State" 0 false,
    Supported "Supported" b'k' true,
    Timestamp "Timestamp" 0 false,
    To "To" b't' false,
    Unsupported "Unsupported" 0 true,
    UserAgent "User-Agent" 0 false,
    Via "Via" b'v' true,
    Warning "Warning" 0 true,
    WwwAuthenticate "WWW-Authenticate" 0 false,
}

/// Slots of the open-addressing table; a power of two, at least twice the number of known names.
const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;

/// Where the search for a name starts.
const fn slot(name: &[u8]) -> usize {
    let (first, last) = (name[0] | 0x20, name[name.len() - 1] | 0x20);
    let middle = name[name.len() / 2] | 0x20;
    (name.len() * 7 + first as usize * 31 + last as usize * 13 + middle as usize * 5) & (SLOTS - 1)
}

/// Hash table over [`TABLE`], built by the compiler: a name costs one or two comparisons for every header line.
static INDEX: [u8; SLOTS] = {
    assert!(TABLE.len() * 2 < SLOTS);
    let mut index = [EMPTY; SLOTS];
    let mut entry = 0;
    while entry < TABLE.len() {
        let mut at = slot(TABLE[entry].1.as_bytes());
        while index[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        index[at] = entry as u8;
        entry += 1;
    }
    index
};

/// The known name for each compact letter.
static COMPACT: [u8; 26] = {
    let mut letters = [EMPTY; 26];
    let mut entry = 0;
    while entry < TABLE.len() {
        if TABLE[entry].2 != 0 {
            letters[(TABLE[entry].2 - b'a') as usize] = entry as u8;
        }
        entry += 1;
    }
    letters
};

/// A name as a field keeps it, in one byte, for each message has a dozen of them: the place of a known one in [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameId(u8);

impl NameId {
    /// That of all names that are not known.
    pub(crate) const OTHER: Self = Self(EMPTY);

    /// That of the name that `text` spells, in long or compact form.
    pub(crate) fn of(text: &[u8]) -> Self {
        if let [letter] = text {
            let at = usize::from(letter.to_ascii_lowercase().wrapping_sub(b'a'));
            return Self(COMPACT.get(at).copied().unwrap_or(EMPTY));
        }
        if text.is_empty() {
            return Self::OTHER;
        }
        let mut at = slot(text);
        loop {
            let id = INDEX[at];
            match TABLE.get(usize::from(id)) {
                None => return Self::OTHER,
                // Most are spelled as here, which is the quicker comparison.
                Some(entry) if entry.1.as_bytes() == text => return Self(id),
                Some(entry) if entry.1.as_bytes().eq_ignore_ascii_case(text) => return Self(id),
                Some(_) => at = (at + 1) % SLOTS,
            }
        }
    }

    /// The known name.
    pub(crate) fn name(self) -> Option<Name<'static>> {
        TABLE.get(usize::from(self.0)).map(|entry| entry.0)
    }

    /// [`Name::is_list`] of it.
    pub(crate) fn is_list(self) -> bool {
        TABLE.get(usize::from(self.0)).is_some_and(|entry| entry.3)
    }

    /// The letter of the compact form, if there is one (RFC 3261 §7.3.3).
    pub(crate) fn compact(self) -> Option<u8> {
        TABLE.get(usize::from(self.0)).map(|entry| entry.2).filter(|letter| *letter != 0)
    }
}

impl<'a> Name<'a> {
    /// The known name that `text` spells, in long or compact form, else `Other(text)`.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        NameId::of(text.as_bytes()).name().unwrap_or(Self::Other(text))
    }

    /// The letter of the compact form, if there is one (RFC 3261 §7.3.3).
    #[must_use]
    pub fn compact(&self) -> Option<u8> {
        self.id().compact()
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Name<'_> {}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_by_its_letter() {
        for (name, text, compact, _) in TABLE {
            assert_eq!(Name::of(text), *name);
            assert_eq!(name.id().name(), Some(*name));
            assert_eq!(NameId::of(text.to_ascii_uppercase().as_bytes()), name.id());
            if *compact != 0 {
                assert_eq!(NameId::of(&[*compact]), name.id());
                assert_eq!(NameId::of(&[compact.to_ascii_uppercase()]), name.id());
            }
        }
    }

    #[test]
    fn unknown_names_stay_as_they_are() {
        for text in ["X-Foo", "z", "1", "Vi", "Via2", "\u{e9}"] {
            assert!(matches!(Name::of(text), Name::Other(same) if same == text), "{text}");
        }
        assert_eq!(Name::Other("x-foo"), Name::of("X-FOO"));
    }
}
