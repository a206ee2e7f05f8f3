//! What is dropped or refused before anything is done for it, under the names of Kamailio's `secfilter` and `sanity` modules and of
//! the `auth_block_list` of the articles; and what may not be called.

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
        name: "secfilter.dst_exact_match",
        allowed: super::FLAG,
        default: "true",
        about: "Whether a destination in the table secfilter is that number alone, and not all that begin with it.",
        set: |c, v| v.flag().map(|flag| c.dst_exact_match = flag),
    },
    Key {
        name: "secfilter.premium_dst",
        allowed: "a list of numbers; empty for none",
        default: "[\"870\", \"878\", \"881\", \"882\", \"883\", \"979\", \"1900\", \"3090\", \"31900\", \"31906\", \"31909\", \"3290\", \"3389\", \"34803\", \"34806\", \"34807\", \"34905\", \"35176\", \"358600\", \"358700\", \"3690\", \"38560\", \"38690\", \"39892\", \"39895\", \"39899\", \"4190\", \"42090\", \"421900\", \"4390\", \"4393\", \"4470\", \"449\", \"4590\", \"46900\", \"46939\", \"46944\", \"47829\", \"4870\", \"49900\", \"61190\", \"64900\", \"246\", \"247\"]",
        about: "Numbers that cost much or that fraud lives on, by how they begin behind + or 00 (one that begins with 0: as it is dialled): satellites, premium rate, some small islands. Calls and messages to them hear 403.",
        set: |c, v| v.list().and_then(|list| digits(&list)).map(|list| c.premium = list),
    },
    Key {
        name: "secfilter.premium_group",
        allowed: "text",
        default: "\"premium\"",
        about: "The group of the table grp whose members may call them all the same (causeway group add USER premium).",
        set: |c, v| v.text().map(|group| c.premium_group = group),
    },
    Key {
        name: "geoip2.path",
        allowed: "a path; empty for none",
        default: "\"\"",
        about: "File of MaxMind's format (.mmdb) with the countries of addresses, for the countries in the table secfilter. A new one is taken up within seconds.",
        set: |c, v| v.optional().map(|path| c.countries = path.map(Into::into)),
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

/// Numbers, each of digits alone.
fn digits(list: &[String]) -> Result<Vec<Box<str>>, String> {
    let number = |text: &String| match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.as_str().into()),
        false => Err(format!("{text:?} is no beginning of a number")),
    };
    list.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use signaling_core::secfilter::Premium;

    use crate::config::Config;

    #[test]
    fn costly_numbers_are_the_known_ones_unless_told_otherwise() {
        let of = |text: &str| Config::parse(text, "x.toml").map(|config| config.premium);
        let known: Vec<Box<str>> = Premium::KNOWN.map(Into::into).into();
        assert_eq!(of("").unwrap(), known);
        assert!(of("[secfilter]\npremium_dst = []\n").unwrap().is_empty());
        let error = of("[secfilter]\npremium_dst = [\"+979\"]\n").unwrap_err().to_string();
        assert!(error.contains("\"+979\" is no beginning of a number"), "{error}");
    }
}
