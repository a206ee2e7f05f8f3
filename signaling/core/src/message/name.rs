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

        impl<'a> Name<'a> {
            /// The canonical spelling.
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

            /// The same name for as long as one likes, when it is a known one.
            const fn known(&self) -> Option<Name<'static>> {
                match self { $(Self::$variant => Some(Name::$variant),)* Self::Other(_) => None }
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

/// The known name that `text` spells, in long or compact form.
pub(crate) fn lookup(text: &[u8]) -> Option<Name<'static>> {
    if let [letter] = text {
        let at = usize::from(letter.to_ascii_lowercase().wrapping_sub(b'a'));
        return TABLE.get(usize::from(*COMPACT.get(at)?)).map(|entry| entry.0);
    }
    if text.is_empty() {
        return None;
    }
    let mut at = slot(text);
    loop {
        let entry = TABLE.get(usize::from(INDEX[at]))?;
        if entry.1.as_bytes().eq_ignore_ascii_case(text) {
            return Some(entry.0);
        }
        at = (at + 1) % SLOTS;
    }
}

impl<'a> Name<'a> {
    /// The known name that `text` spells, in long or compact form, else `Other(text)`.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        lookup(text.as_bytes()).unwrap_or(Self::Other(text))
    }

    /// The letter of the compact form, if there is one (RFC 3261 §7.3.3).
    #[must_use]
    pub fn compact(&self) -> Option<u8> {
        TABLE
            .iter()
            .find(|entry| entry.0.is_same_known(self))
            .map(|entry| entry.2)
            .filter(|letter| *letter != 0)
    }

    /// What is kept of a name beside its text: the known name, or `Other("")`.
    pub(crate) fn id(&self) -> Name<'static> {
        self.known().or_else(|| lookup(self.as_str().as_bytes())).unwrap_or(Name::Other(""))
    }

    /// Whether both are the same known name.
    pub(crate) fn is_same_known(&self, other: &Name<'_>) -> bool {
        !matches!(self, Self::Other(_)) && std::mem::discriminant(self) == std::mem::discriminant(other)
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
            assert_eq!(lookup(text.to_ascii_uppercase().as_bytes()), Some(*name));
            if *compact != 0 {
                assert_eq!(lookup(&[*compact]), Some(*name));
                assert_eq!(lookup(&[compact.to_ascii_uppercase()]), Some(*name));
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
