//! What a controller of the ng protocol may wish for the SDP of an exchange, beyond what the relay does by itself.

/// ng `codec` (and the flags `codec-strip-…` and so on): which formats the receiver is offered. Names are encoding names,
/// `NAME/CLOCK` (one channel) or `NAME/CLOCK/CHANNELS`; `all` and `full` stand for every format, and after `full` nothing of
/// the sender's comes back by `transcode`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodecEdits {
    /// Taken out of the offer.
    pub strip: Vec<String>,
    /// Kept when `strip` or `mask` is `all`.
    pub except: Vec<String>,
    /// Put back after `strip`, in this order.
    pub offer: Vec<String>,
    /// Taken out towards the receiver, but still answered to the sender.
    pub mask: Vec<String>,
    /// As `mask`, and answered to the sender whatever the receiver takes.
    pub consume: Vec<String>,
    /// Answered to the sender whatever the receiver takes.
    pub accept: Vec<String>,
    /// Offered to the receiver though the sender has it not: the relay converts. With more behind the channels,
    /// `/BITRATE/PTIME/PARAMETERS`, it is a format of its own beside one of the same name.
    pub transcode: Vec<String>,
    /// Bit rates, `NAME/CLOCK/CHANNELS/BITRATE`, for what is converted to without being named in `transcode`.
    pub set: Vec<String>,
}

/// ng `SDES`: the keys of RFC 4568 towards the receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sdes {
    /// No keys at all.
    pub off: bool,
    /// Base64 with its padding.
    pub pad: bool,
    /// With `|2^31` (RFC 4568 §6.1).
    pub lifetime: bool,
    /// No suites besides those the sender offered.
    pub no_new: bool,
    /// What was agreed with the offerer stays, whatever the answerer changes.
    pub fixed: bool,
    /// Suites not to be offered.
    pub not: Vec<String>,
    /// The only suites to be offered; empty for all.
    pub only: Vec<String>,
    /// `UNENCRYPTED_SRTP` in what the receiver is offered; `None`: as the sender has it.
    pub unencrypted_srtp: Option<bool>,
    /// `UNENCRYPTED_SRTCP`, the same.
    pub unencrypted_srtcp: Option<bool>,
    /// `UNAUTHENTICATED_SRTP`. Without `Some(true)` lines that have it are left alone: anybody could speak into such a call.
    pub unauthenticated_srtp: Option<bool>,
    /// These suites come first in the offer, in this order; their tags stay.
    pub order: Vec<String>,
    /// The sender of an offer is answered with the first of these that it has.
    pub offerer_pref: Vec<String>,
}

/// ng `bundle`: whether lines share a transport (RFC 9143) with a browser. They do unless something here says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bundling {
    /// The sender's group is taken, and answered with one.
    pub accept: bool,
    /// The receiver is offered one.
    pub offer: bool,
    /// Lines of the offer but the first are `a=bundle-only`, with the port of the first.
    pub require: bool,
    /// The same, and their port is 0 (RFC 9143 §6).
    pub strict: bool,
    /// There is no group: what cannot have a transport of its own is refused.
    pub reject: bool,
}

/// ng `sdp-attr`: attributes of the SDP to the receiver, without `a=`, put in, taken out or replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeEdits {
    /// At the end of the section.
    pub add: Vec<String>,
    /// Whole attributes, as `foo:bar`.
    pub remove: Vec<String>,
    /// The first becomes the second.
    pub substitute: Vec<(String, String)>,
}

/// [`AttributeEdits`] by section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SdpEdits {
    /// Of the session.
    pub global: AttributeEdits,
    /// Of m=audio.
    pub audio: AttributeEdits,
    /// Of m=video.
    pub video: AttributeEdits,
}

/// ng `OSRTP`: SRTP under the name of plain RTP (RFC 8643).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Osrtp {
    /// Offer it to the receiver.
    pub offer: bool,
    /// Accept it from the sender though the receiver has none.
    pub accept: bool,
}

/// ng `ICE-lite`: towards whom the relay calls itself a lite agent (RFC 8445 §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceLite {
    /// Towards nobody.
    Off,
    /// Towards the receiver of the offer.
    Forward,
    /// Towards the offerer.
    Backward,
    /// Towards both.
    Both,
}

/// What a controller may ask for of an end's address, beside learning it once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manners {
    /// It follows the end's packets always (ng `media handover`): whoever sends to the port can take the call over.
    pub handover: bool,
    /// Nothing is sent to the end before it has sent something (ng `NAT-wait`).
    pub wait: bool,
    /// Empty datagrams open the end's way through its NAT until it sends something (ng `pierce NAT`).
    pub pierce: bool,
}

/// ng `TOS`: the type of service (IPv4) or traffic class (IPv6) of what a call's ends are sent from ports of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tos {
    /// That of the relay: the message says nothing, or something too large.
    #[default]
    Usual,
    /// As it is: the message says a negative number.
    Kept,
    /// This.
    Value(u8),
}
