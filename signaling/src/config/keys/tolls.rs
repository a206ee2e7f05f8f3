//! How much of the telephone network users may have of a day. All of it is read again by `causeway reload`.

use signaling_core::tolls::Zone;

use super::{Config, Key};
use crate::config::value::Value;

/// More than this of a day is no limit.
const MANY: i64 = 1_000_000;
/// Changes of the clock that are known ahead: some thirty years of them.
const CHANGES: usize = 64;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "tolls.calls_per_day",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "Calls that a user may begin to gateways of the telephone network (pstn, dispatcher) in a day; the next hears 403. A source without a name (tables address, trusted) is a user by its address.",
        set: |c, v| v.number(0, MANY).map(|number| c.tolls.user.calls = number),
    },
    Key {
        name: "tolls.minutes_per_day",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "Minutes that they may last in a day, all of them added up; when they are used up both ends hear a BYE, and the next call 403.",
        set: |c, v| v.number(0, MANY).map(|number| c.tolls.user.minutes = number),
    },
    Key {
        name: "tolls.calls_per_day_of_group",
        allowed: "a list of \"GROUP:NUMBER\"; 0 for any number",
        default: "[]",
        about: "The calls of users who are in a group of the table grp, in place of calls_per_day; of several groups the most counts.",
        set: |c, v| groups(v).map(|groups| c.tolls.calls_of_groups = groups),
    },
    Key {
        name: "tolls.minutes_per_day_of_group",
        allowed: "a list of \"GROUP:NUMBER\"; 0 for any number",
        default: "[]",
        about: "Their minutes, in place of minutes_per_day.",
        set: |c, v| groups(v).map(|groups| c.tolls.minutes_of_groups = groups),
    },
    Key {
        name: "tolls.calls_per_day_to_gateway",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "Calls of all users together to one gateway in a day.",
        set: |c, v| v.number(0, MANY).map(|number| c.tolls.gateway.calls = number),
    },
    Key {
        name: "tolls.minutes_per_day_to_gateway",
        allowed: "0 to 1000000; 0 for any number",
        default: "0",
        about: "Minutes of all users together through one gateway in a day.",
        set: |c, v| v.number(0, MANY).map(|number| c.tolls.gateway.minutes = number),
    },
    Key {
        name: "tolls.timezone",
        allowed: "\"UTC\" or a name such as \"Europe/Berlin\"",
        default: "\"UTC\"",
        about: "Where a day begins at midnight. Names are those of the host's time zones (/usr/share/zoneinfo).",
        set: set_zone,
    },
];

fn groups(value: &Value) -> Result<std::collections::HashMap<String, u32>, String> {
    let group = |text: &String| {
        let (group, number) = text.rsplit_once(':')?;
        Some((group.to_owned(), number.parse().ok().filter(|number| i64::from(*number) <= MANY)?))
    };
    let list = value.list()?;
    list.iter().map(|text| group(text).ok_or_else(|| format!("{text:?} is no group with a number"))).collect()
}

fn set_zone(config: &mut Config, value: &Value) -> Result<(), String> {
    config.tolls.zone = zone(&value.text()?)?;
    Ok(())
}

fn zone(name: &str) -> Result<Zone, String> {
    if name == "UTC" {
        return Ok(Zone::default());
    }
    let zone = jiff::tz::TimeZone::get(name).map_err(|_| format!("{name:?} is no time zone of this host"))?;
    let now = jiff::Timestamp::now();
    let mut offsets = vec![(i64::MIN, zone.to_offset(now).seconds())];
    let changes = zone.following(now).take(CHANGES);
    offsets.extend(changes.map(|change| (change.timestamp().as_second(), change.offset().seconds())));
    Ok(Zone(offsets))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Summer and winter: midnight of Berlin is 22:00 or 23:00 UTC, in every year to come.
    #[test]
    fn days_begin_at_midnight_of_the_zone() {
        let (utc, berlin) = (zone("UTC").unwrap(), zone("Europe/Berlin").unwrap());
        let begins = |zone: &Zone, at: u64| zone.day(at) - zone.day(at - 1) == 1;
        // 2036-01-15 and 2036-07-15, 00:00 UTC.
        for (midnight, hours) in [(2_083_968_000_u64, 1), (2_099_692_800, 2)] {
            assert!(begins(&utc, midnight) && !begins(&berlin, midnight));
            assert!(begins(&berlin, midnight - hours * 3600), "{midnight}");
        }
        assert_eq!(zone("Asia/Tokyo").unwrap().0.len(), 1, "no changes are known there");
        assert!(zone("Mars/Base").unwrap_err().contains("no time zone of this host"));
    }
}
