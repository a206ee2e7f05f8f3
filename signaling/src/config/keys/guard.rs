//! What is dropped or refused before anything is done for it, under the names of Kamailio's `secfilter` and `sanity` modules and of
//! the `auth_block_list` of the articles.

use signaling_core::settings::Words;

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "secfilter.user_agents",
        allowed: "a list of words",
        default: "[\"friendly-scanner\", \"friendly-request\", \"sipcli\", \"sipvicious\", \"VaxSIPUserAgent\", \"VaxIPUserAgent\", \"sip-scan\", \"sipsak\", \"sundayddr\", \"iWar\", \"SIVuS\", \"Gulp\", \"smap\", \"siparmyknife\", \"Test Agent\"]",
        about: "Requests with one of these in their User-Agent, in whatever case, come from scanners and are dropped without a word. Those of pike.exempt are not.",
        set: |c, v| {
            let words = Words::new(v.list()?).map_err(|_| "the list is too long".to_owned())?;
            c.secfilter.user_agents = words;
            Ok(())
        },
    },
    Key {
        name: "secfilter.sqli",
        allowed: super::FLAG,
        default: "true",
        about: "Whether requests with SQL in From, To, Contact, User-Agent or Request-URI are dropped without a word. Nothing here is open to it, but what reads the records may be.",
        set: |c, v| v.flag().map(|flag| c.secfilter.sqli = flag),
    },
    Key {
        name: "sanity.default_checks",
        allowed: "0 to 131071",
        default: "22503",
        about: "What requests are refused for, as a sum: 2 scheme of the Request-URI, 256 Expires, 512 Proxy-Require, 1024 URIs, 2048 credentials are Digest and complete, 4096 tags that stand twice, 8192 Digest credentials are complete, 32768 a branch or Route from before RFC 3261. What a message cannot be placed without is looked at in any case: 1, 4, 32, 64, 128, 16384, 65536.",
        set: |c, v| v.number(0, 131_071).map(|number| c.sanity.default_checks = number),
    },
    Key {
        name: "sanity.uri_checks",
        allowed: "0 to 7",
        default: "7",
        about: "The URIs that have to be readable, as a sum: 1 Request-URI (in any case), 2 From, 4 To.",
        set: |c, v| v.number(0, 7).map(|number| c.sanity.uri_checks = number),
    },
    Key {
        name: "sanity.proxy_require",
        allowed: "a list of option tags",
        default: "[]",
        about: "What a request may ask for in Proxy-Require; anything else is 420.",
        set: |c, v| v.list().map(|list| c.sanity.proxy_require = list),
    },
    Key {
        name: "auth_block_list.auth_count",
        allowed: "0 to 1000000; 0 for any number",
        default: "30",
        about: "So many refused passwords of one user in a row, and five times as many from one address, and the next ones hear 403 (Blocked Forbidden, then Already Blocked Forbidden) whatever they are. Where a user is registered, or has just signed in, what others have guessed in his name is not held against him.",
        set: |c, v| v.number(0, 1_000_000).map(|number| c.auth.block.auth_count = number),
    },
    Key {
        name: "auth_block_list.last_auth",
        allowed: "1 to 86400 seconds",
        default: "300",
        about: "Refusals are in a row when no more than this is between two of them.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.auth.block.last_auth = time),
    },
    Key {
        name: "auth_block_list.last_block",
        allowed: "1 to 86400 seconds",
        default: "900",
        about: "How long that lasts the first time; it doubles each time after.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.auth.block.last_block = time),
    },
    Key {
        name: "auth_block_list.longest",
        allowed: "1 to 31536000 seconds",
        default: "86400",
        about: "The longest that it becomes.",
        set: |c, v| v.seconds(1, 31_536_000).map(|time| c.auth.block.longest = time),
    },
];
