//! What users spend of a day at the telephone network: calls and time, and how much that may be, so that whoever has got hold of
//! somebody's password runs up a bounded bill. All workers share one table, in parts: it is looked at when a call to a gateway
//! begins, once a second while one goes on, and when one ends.

use std::collections::HashMap;
use std::time::Duration;

use crate::profiles::{Profile, Seat};
use crate::shards::Shards;

/// Users and gateways of a part that are counted; what more would be is not, for the table would fill the memory.
const MAX: usize = 4096;

/// Seconds of a day, but for those with a change of the clock.
const DAY: i64 = 86_400;

/// How much there may be of a day; 0 is any amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Calls begun, whether they are answered or not.
    pub calls: u32,
    /// Minutes of answered calls, all of them added up.
    pub minutes: u32,
}

/// Who may spend how much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// A user.
    pub user: Allowance,
    /// Calls of a user who is in one of these groups of the table `grp`: the most that one of them allows, in place of the above.
    pub calls_of_groups: HashMap<String, u32>,
    /// The same of minutes.
    pub minutes_of_groups: HashMap<String, u32>,
    /// One gateway, from all users together.
    pub gateway: Allowance,
    /// When a day begins.
    pub zone: Zone,
}

/// When a day begins: seconds east of UTC from moments on, in their order. Empty is UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone(pub Vec<(i64, i32)>);

/// What was spent of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// The day, by [`Zone::day`].
    pub day: i64,
    /// Calls begun.
    pub calls: u32,
    /// Milliseconds of answered calls.
    pub milliseconds: u64,
}

/// What a call to the telephone network is counted under for the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toll {
    /// Its caller, and the gateways that it may go to.
    pub seats: Vec<Seat>,
    /// The address of record of its caller, by which his groups are known.
    pub aor: Option<String>,
}

/// What of an allowance is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Calls.
    Calls,
    /// Minutes.
    Minutes,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tolls {
    days: Shards<Day>,
}

/// A part, which is of one day: what was spent before is forgotten with the first that is spent of the next.
#[derive(Debug, Default)]
struct Day {
    day: i64,
    accounts: HashMap<Seat, Account>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    spent: Spent,
    /// As it was when [`Tolls::changed`] was asked last.
    told: Spent,
}

impl Limits {
    /// Whether nothing is limited, and therefore nothing counted.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let groups = [&self.calls_of_groups, &self.minutes_of_groups];
        self.user == Allowance::default()
            && self.gateway == Allowance::default()
            && groups.into_iter().all(HashMap::is_empty)
    }

    /// What a user of these groups may spend.
    #[must_use]
    pub fn of_user<'a>(&self, groups: impl Iterator<Item = &'a str> + Clone) -> Allowance {
        let most = |of: &HashMap<String, u32>, else_: u32| {
            let listed = groups.clone().filter_map(|group| of.get(group).copied());
            // 0 is any amount.
            listed.max_by_key(|most| most.wrapping_sub(1)).unwrap_or(else_)
        };
        Allowance {
            calls: most(&self.calls_of_groups, self.user.calls),
            minutes: most(&self.minutes_of_groups, self.user.minutes),
        }
    }
}

impl Zone {
    /// The number of the day at `unix` seconds since 1970: another one from each midnight on.
    #[must_use]
    pub fn day(&self, unix: u64) -> i64 {
        let unix = i64::try_from(unix).unwrap_or(i64::MAX / 2);
        let after = self.0.partition_point(|(from, _)| *from <= unix);
        let east = after.checked_sub(1).map_or(0, |place| self.0[place].1);
        (unix + i64::from(east)).div_euclid(DAY)
    }
}

impl Reached {
    /// Its word for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Minutes => "minutes",
        }
    }
}

impl Spent {
    fn reached(&self, allowance: Allowance) -> Option<Reached> {
        let minutes = self.milliseconds / 60_000;
        match allowance {
            Allowance { calls: 1.., .. } if self.calls >= allowance.calls => Some(Reached::Calls),
            Allowance { minutes: 1.., .. } if minutes >= u64::from(allowance.minutes) => {
                Some(Reached::Minutes)
            }
            _ => None,
        }
    }
}

impl Tolls {
    /// Begins a call that is counted under these, or under none of them.
    ///
    /// # Errors
    /// The first whose allowance is used up, and what of it.
    pub fn begin(&self, day: i64, seats: &[(Seat, Allowance)]) -> Result<(), (Seat, Reached)> {
        for (number, (seat, allowance)) in seats.iter().enumerate() {
            let reached = self.with(day, seat, |spent| {
                let reached = spent.reached(*allowance);
                spent.calls = spent.calls.saturating_add(u32::from(reached.is_none()));
                reached
            });
            if let Some(reached) = reached.flatten() {
                for (seat, _) in &seats[..number] {
                    self.with(day, seat, |spent| spent.calls = spent.calls.saturating_sub(1));
                }
                return Err((seat.clone(), reached));
            }
        }
        Ok(())
    }

    /// A call has lasted so much longer; whether the time of an allowance is used up.
    pub fn spend(&self, day: i64, seat: &Seat, allowance: Allowance, time: Duration) -> bool {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let allowance = Allowance { calls: 0, ..allowance };
        let reached = self.with(day, seat, |spent| {
            spent.milliseconds = spent.milliseconds.saturating_add(milliseconds);
            spent.reached(allowance)
        });
        reached.flatten().is_some()
    }

    /// What was spent of a day, by the most time.
    #[must_use]
    pub fn list(&self, day: i64) -> Vec<(Seat, Spent)> {
        let of_part = |part: &Day| -> Vec<_> {
            let today = part.accounts.iter().filter(|(_, account)| account.spent.day == day);
            today.map(|(seat, account)| (seat.clone(), account.spent)).collect()
        };
        let mut all: Vec<_> = self.days.each().flat_map(|part| of_part(&part)).collect();
        all.sort_unstable_by(|(seat, spent), (other, others)| {
            let most = |spent: &Spent| (spent.milliseconds, spent.calls);
            most(others).cmp(&most(spent)).then_with(|| seat.cmp(other))
        });
        all
    }

    /// Forgets what was spent; whether there was anything.
    pub fn reset(&self, seat: &Seat) -> bool {
        let mut part = self.days.of(seat);
        let Some(account) = part.accounts.get_mut(seat) else { return false };
        let zero = Spent { day: account.spent.day, ..Spent::default() };
        std::mem::replace(&mut account.spent, zero) != zero
    }

    /// The same of all.
    pub fn reset_all(&self) {
        for mut part in self.days.each() {
            for account in part.accounts.values_mut() {
                account.spent = Spent { day: account.spent.day, ..Spent::default() };
            }
        }
    }

    /// What was spent before this process began.
    pub fn load(&self, known: impl IntoIterator<Item = (Seat, Spent)>) {
        for (seat, spent) in known {
            let mut part = self.days.of(&seat);
            part.begin(spent.day);
            if spent.day == part.day && part.accounts.len() < MAX {
                part.accounts.insert(seat, Account { spent, told: spent });
            }
        }
    }

    /// All that is known, of whatever day.
    #[must_use]
    pub fn all(&self) -> Vec<(Seat, Spent)> {
        let of_part = |part: &Day| -> Vec<_> {
            part.accounts.iter().map(|(seat, account)| (seat.clone(), account.spent)).collect()
        };
        self.days.each().flat_map(|part| of_part(&part)).collect()
    }

    /// What has changed since this was asked last, to be kept somewhere.
    #[must_use]
    pub fn changed(&self) -> Vec<(Seat, Spent)> {
        let of_part = |part: &mut Day| -> Vec<_> {
            let changed = part.accounts.iter_mut().filter(|(_, account)| account.spent != account.told);
            let tell = |(seat, account): (&Seat, &mut Account)| {
                account.told = account.spent;
                (seat.clone(), account.spent)
            };
            changed.map(tell).collect()
        };
        self.days.each().flat_map(|mut part| of_part(&mut part)).collect()
    }

    /// Changes what was spent of a day; `None` when there is no room to count it.
    fn with<T>(&self, day: i64, seat: &Seat, change: impl FnOnce(&mut Spent) -> T) -> Option<T> {
        let mut part = self.days.of(seat);
        part.begin(day);
        if !part.accounts.contains_key(seat) {
            if part.accounts.len() >= MAX {
                return None;
            }
            let spent = Spent { day: part.day, ..Spent::default() };
            part.accounts.insert(seat.clone(), Account { spent, told: spent });
        }
        part.accounts.get_mut(seat).map(|account| change(&mut account.spent))
    }
}

impl Day {
    /// It is that day, or a later one already: whoever is behind, by a moment, counts for what is there.
    fn begin(&mut self, day: i64) {
        if self.day < day {
            *self = Self { day, ..Self::default() };
        }
    }
}

/// What a user is counted under.
#[must_use]
pub fn of_user(key: &str) -> Seat {
    (Profile::User, key.into())
}

/// What a gateway is counted under.
#[must_use]
pub fn of_gateway(name: &str) -> Seat {
    (Profile::Gateway, name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn may(calls: u32, minutes: u32) -> Allowance {
        Allowance { calls, minutes }
    }

    #[test]
    fn calls_are_counted_where_all_may_be_and_each_day_anew() {
        let (tolls, alice, gateway) = (Tolls::default(), of_user("alice@x"), of_gateway("192.0.2.9"));
        let seats = [(alice.clone(), may(3, 0)), (gateway.clone(), may(2, 0))];
        assert_eq!([tolls.begin(7, &seats), tolls.begin(7, &seats)], [Ok(()), Ok(())]);
        assert_eq!(tolls.begin(7, &seats), Err((gateway.clone(), Reached::Calls)));
        let calls = |day| tolls.list(day).iter().map(|(_, spent)| spent.calls).collect::<Vec<_>>();
        assert_eq!(calls(7), [2, 2], "the one that was refused counts nowhere");
        assert_eq!(tolls.begin(7, &seats[..1]), Ok(()));
        assert_eq!(tolls.begin(7, &seats[..1]), Err((alice.clone(), Reached::Calls)));
        assert_eq!(tolls.begin(8, &seats), Ok(()), "another day");
        assert_eq!((calls(7).len(), calls(8)), (0, vec![1, 1]));
        assert!(tolls.reset(&alice) && !tolls.reset(&alice) && !tolls.reset(&of_user("bob@x")));
        tolls.reset_all();
        assert_eq!(calls(8), [0, 0]);
        assert_eq!(tolls.begin(8, &[(alice, may(0, 0))]), Ok(()), "any number");
    }

    #[test]
    fn time_adds_up_over_all_calls_until_it_is_used_up() {
        let (tolls, alice) = (Tolls::default(), of_user("alice@x"));
        let spend = |day, time| tolls.spend(day, &alice, may(1, 2), time);
        assert!(!spend(7, MINUTE) && !spend(7, MINUTE - Duration::from_millis(1)));
        assert!(spend(7, Duration::from_millis(1)) && spend(7, Duration::ZERO));
        assert_eq!(tolls.begin(7, &[(alice.clone(), may(0, 2))]), Err((alice.clone(), Reached::Minutes)));
        assert!(!spend(8, MINUTE), "what is after midnight is of another day");
        assert!(!spend(7, Duration::from_secs(59)), "a worker that is a moment behind");
        assert_eq!(tolls.list(8)[0].1, Spent { day: 8, calls: 0, milliseconds: 119_000 });
        assert!(!tolls.spend(8, &alice, may(0, 0), 100 * MINUTE), "any amount");
    }

    #[test]
    fn what_has_changed_is_told_once_and_may_be_loaded() {
        let (tolls, alice) = (Tolls::default(), of_user("alice@x"));
        tolls.spend(7, &alice, may(0, 0), MINUTE);
        let told = tolls.changed();
        assert_eq!(told, [(alice.clone(), Spent { day: 7, calls: 0, milliseconds: 60_000 })]);
        assert_eq!(tolls.changed(), []);
        let again = Tolls::default();
        again.load(told);
        assert_eq!((again.changed(), again.list(7)), (Vec::new(), tolls.list(7)));
        assert!(again.spend(7, &alice, may(0, 2), MINUTE), "from where it was");
    }

    #[test]
    fn of_several_groups_the_most_counts() {
        let groups = |list: &[(&str, u32)]| list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let limits = Limits {
            user: may(10, 20),
            calls_of_groups: groups(&[("sales", 50), ("few", 2)]),
            minutes_of_groups: groups(&[("sales", 30), ("any", 0)]),
            ..Limits::default()
        };
        for (of, expected) in [
            (&[][..], may(10, 20)),
            (&["other"], may(10, 20)),
            (&["few"], may(2, 20)),
            (&["few", "sales"], may(50, 30)),
            (&["sales", "any"], may(50, 0)),
        ] {
            assert_eq!(limits.of_user(of.iter().copied()), expected, "{of:?}");
        }
        assert!(Limits::default().is_off() && !limits.is_off());
        assert!(!Limits { gateway: may(0, 1), ..Limits::default() }.is_off());
    }

    #[test]
    fn a_day_begins_at_midnight_there() {
        let midnight = 1_800_000_000 - 1_800_000_000 % 86_400;
        let utc = Zone::default();
        assert_eq!(utc.day(midnight) - utc.day(midnight - 1), 1);
        // An hour east, and two from noon on.
        let zone = Zone(vec![(0, 3600), (midnight as i64 + 43_200, 7200)]);
        for (at, step) in
            [(midnight - 3600, 1), (midnight, 0), (midnight + 82_800, 0), (midnight + 79_200, 1)]
        {
            assert_eq!(zone.day(at) - zone.day(at - 1), step, "{at}");
        }
        assert_eq!(Zone(vec![(1000, -3600)]).day(999), 0, "before the first it is UTC");
    }

    #[test]
    fn the_table_is_bounded() {
        let tolls = Tolls::default();
        for number in 0..300_000 {
            tolls.spend(7, &of_user(&number.to_string()), may(0, 1), MINUTE);
        }
        assert!(tolls.list(7).len() <= Shards::<u64>::COUNT * MAX);
        assert!(tolls.spend(8, &of_user("later"), may(0, 1), MINUTE), "what is over makes room");
    }
}
