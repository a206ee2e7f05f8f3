//! How many calls there are at once, of whom and to where (the profiles of Kamailio's `dialog` module), and how many there may
//! be. All workers share one table, in parts: it is looked at when a call begins and when it ends.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::shards::Shards;

/// What calls are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// All calls; it has no value.
    All,
    /// A user of ours, by his address of record: calls that he makes and that he is rung for.
    User,
    /// A group of the table `grp`: calls that its members make.
    Group,
    /// The gateway of the telephone network, by its name, or one of the table `dispatcher`, by its URI.
    Gateway,
}

/// How many calls there may be at once; 0 is any number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Here.
    pub all: u32,
    /// Of a user.
    pub user: u32,
    /// Of the members of a group.
    pub groups: HashMap<String, u32>,
    /// To the gateway of the telephone network.
    pub gateway: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Profiles {
    /// Of [`Profile::All`], which every call is in.
    all: AtomicU32,
    /// Of the others.
    counts: Shards<HashMap<Seat, u32>>,
}

/// What a call is counted under.
pub type Seat = (Profile, Box<str>);

/// The places that a call has; it gives them back when it is dropped.
#[derive(Debug)]
pub struct Membership {
    profiles: Arc<Profiles>,
    seats: Vec<Seat>,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::All, Self::User, Self::Group, Self::Gateway];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::User => "user",
            Self::Group => "group",
            Self::Gateway => "gateway",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Limits {
    /// The limit of a seat.
    #[must_use]
    pub fn of(&self, (profile, value): &Seat) -> u32 {
        match profile {
            Profile::All => self.all,
            Profile::User => self.user,
            Profile::Group => self.groups.get(&**value).copied().unwrap_or(0),
            Profile::Gateway => self.gateway,
        }
    }
}

impl Profiles {
    /// Takes all of these places, or none. Of calls that begin in the same moment on several workers each may find the last place
    /// taken by another that does not get all of its own: then none has it.
    ///
    /// # Errors
    /// The first that is taken by as many calls as there may be.
    pub fn enter(self: &Arc<Self>, limits: &Limits, seats: Vec<Seat>) -> Result<Membership, Seat> {
        let mut taken = Membership { profiles: Arc::clone(self), seats: Vec::with_capacity(seats.len()) };
        for seat in seats {
            if !self.take(&seat, limits.of(&seat)) {
                return Err(seat);
            }
            taken.seats.push(seat);
        }
        Ok(taken)
    }

    /// Calls that are counted under a profile, and a value of it if one is said.
    #[must_use]
    pub fn size(&self, profile: Profile, value: Option<&str>) -> u32 {
        if profile == Profile::All {
            return self.all.load(Ordering::Acquire);
        }
        let wanted = |(known, of): &Seat| *known == profile && value.is_none_or(|value| **of == *value);
        let of_part = |part: &HashMap<Seat, u32>| -> u32 {
            part.iter().filter(|(seat, _)| wanted(seat)).map(|(_, count)| count).sum()
        };
        self.counts.each().map(|part| of_part(&part)).sum()
    }

    /// Takes a place where there are `limit`; 0 is any number.
    fn take(&self, seat: &Seat, limit: u32) -> bool {
        let more = |count: u32| (limit == 0 || count < limit).then(|| count.saturating_add(1));
        if seat.0 == Profile::All {
            return self.all.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        }
        let mut part = self.counts.of(seat);
        let count = part.get(seat).copied().unwrap_or_default();
        let Some(count) = more(count) else { return false };
        part.insert(seat.clone(), count);
        true
    }

    fn give_back(&self, seat: &Seat) {
        if seat.0 == Profile::All {
            self.all.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let mut part = self.counts.of(seat);
        if let Some(count) = part.get_mut(seat) {
            *count -= 1;
            if *count == 0 {
                part.remove(seat);
            }
        }
    }
}

impl Membership {
    /// What the call is counted under.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.seats.iter().for_each(|seat| self.profiles.give_back(seat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(profile: Profile, value: &str) -> Seat {
        (profile, value.into())
    }

    #[test]
    fn all_places_are_taken_or_none_and_given_back_with_the_call() {
        let profiles = Arc::new(Profiles::default());
        let limits =
            Limits { user: 2, groups: HashMap::from([("sales".to_owned(), 1)]), ..Limits::default() };
        let places =
            || vec![seat(Profile::All, ""), seat(Profile::User, "alice@x"), seat(Profile::Group, "sales")];
        let first = profiles.enter(&limits, places()).expect("room");
        assert_eq!(first.seats().len(), 3);
        assert_eq!(profiles.enter(&limits, places()).expect_err("full"), seat(Profile::Group, "sales"));
        let size = |profile, value| profiles.size(profile, value);
        assert_eq!(
            (size(Profile::All, None), size(Profile::User, Some("alice@x"))),
            (1, 1),
            "none was taken"
        );
        let second = profiles.enter(&limits, vec![seat(Profile::User, "alice@x")]).expect("room for two");
        assert_eq!(
            profiles.enter(&limits, vec![seat(Profile::User, "alice@x")]).expect_err("full"),
            seat(Profile::User, "alice@x")
        );
        assert!(profiles.enter(&limits, vec![seat(Profile::User, "bob@x")]).is_ok(), "somebody else");
        assert!(profiles.enter(&limits, vec![seat(Profile::Group, "other")]).is_ok(), "no limit");
        drop((first, second));
        let left = profiles.counts.each().map(|part| part.len()).sum::<usize>();
        assert_eq!((left, size(Profile::All, None)), (0, 0), "nothing is left of calls that are over");
        assert_eq!(Profile::ALL.map(|profile| Profile::named(profile.as_str())), Profile::ALL.map(Some));
    }
}
