//! Who stands on a list of the table `secfilter`: by his address, the country of that, his program, or a name or domain that he
//! gives or asks for.

use crate::event::Hostility;
use crate::flow::Flow;
use crate::message::header::NameAddr;
use crate::message::{Name, Request};
use crate::secfilter::{Kind, Lists, Side};
use crate::world::World;

/// What a white list spares a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// Nothing.
    Nothing,
    /// The look at its User-Agent.
    Agent,
    /// Any look: its source stands there.
    All,
}

/// The headers in which names are looked for, and how the counters call them.
const HEADERS: [(Name<'_>, &str); 3] = [(Name::From, "from"), (Name::To, "to"), (Name::Contact, "contact")];

/// Looks a request up in the lists.
///
/// # Errors
/// It is on a black one: what for, and the value that stands there.
pub fn look_up(world: &World, flow: &Flow, request: &Request) -> Result<Spared, (Hostility, String)> {
    let tables = world.tables();
    let lists = &tables.secfilter;
    if lists.is_empty() {
        return Ok(Spared::Nothing);
    }
    if of_source(world, lists, flow)? == Some(Side::White) {
        return Ok(Spared::All);
    }
    let agent = of_agent(world, lists, request)?;
    of_names(world, lists, request)?;
    Ok(if agent == Some(Side::White) { Spared::Agent } else { Spared::Nothing })
}

/// By its address, then by the country of that.
fn of_source(world: &World, lists: &Lists, flow: &Flow) -> Result<Option<Side>, (Hostility, String)> {
    let ip = flow.remote.ip().to_canonical();
    let side = counted(world, ["", "ip"], lists.find_ip(ip));
    if side == Some(Side::Black) {
        return Err((Hostility::Listed(Kind::Ip), ip.to_string()));
    }
    if side.is_some() || !lists.knows(Kind::Country) {
        return Ok(side);
    }
    let Some(country) = world.outside.resolver.country(ip) else { return Ok(None) };
    let country = String::from_utf8_lossy(&country);
    match counted(world, ["", "country"], lists.find(Kind::Country, &country)) {
        Some(Side::Black) => Err((Hostility::Listed(Kind::Country), country.into_owned())),
        // That all of a country are heard says nothing about what they are.
        _ => Ok(None),
    }
}

fn of_agent(world: &World, lists: &Lists, request: &Request) -> Result<Option<Side>, (Hostility, String)> {
    let agent = request.raw(Name::UserAgent).filter(|_| lists.knows(Kind::UserAgent));
    let Some(agent) = agent.map(String::from_utf8_lossy) else { return Ok(None) };
    match counted(world, ["", "ua"], lists.find(Kind::UserAgent, &agent)) {
        Some(Side::Black) => Err((Hostility::Listed(Kind::UserAgent), agent.into_owned())),
        side => Ok(side),
    }
}

fn of_names(world: &World, lists: &Lists, request: &Request) -> Result<(), (Hostility, String)> {
    let (users, domains) = (lists.knows(Kind::User), lists.knows(Kind::Domain));
    if !users && !domains {
        return Ok(());
    }
    for (header, word) in HEADERS {
        let addresses = request.values(header).filter_map(|value| NameAddr::parse("address", value).ok());
        for address in addresses {
            let Ok(uri) = address.uri() else { continue };
            if users {
                let user = uri.user_decoded().unwrap_or_default();
                of_user(world, lists, word, &address.display(), &user)?;
            }
            let domain = uri.host();
            let side = if domains { lists.find(Kind::Domain, domain) } else { None };
            if counted(world, [word, "_domain"], side) == Some(Side::Black) {
                return Err((Hostility::Listed(Kind::Domain), domain.to_owned()));
            }
        }
    }
    Ok(())
}

/// A user by what he is shown as and by what he is.
fn of_user(
    world: &World,
    lists: &Lists,
    header: &str,
    display: &str,
    user: &str,
) -> Result<(), (Hostility, String)> {
    // No display name of a Contact is shown to anybody.
    let display = if header == "contact" { "" } else { display };
    let (by_name, by_user) = (lists.find(Kind::User, display), lists.find(Kind::User, user));
    if by_name == Some(Side::White) || by_user == Some(Side::White) {
        let what = if by_user == Some(Side::White) { "_user" } else { "_name" };
        counted(world, [header, what], Some(Side::White));
        return Ok(());
    }
    for (what, value, side) in [("_name", display, by_name), ("_user", user, by_user)] {
        if side.is_some() {
            counted(world, [header, what], side);
            return Err((Hostility::Listed(Kind::User), value.to_owned()));
        }
    }
    Ok(())
}

/// Counts that something was found.
fn counted(world: &World, [header, what]: [&str; 2], side: Option<Side>) -> Option<Side> {
    if let Some(side) = side {
        world.stats.borrow_mut().listed.note(side == Side::Black, &format!("{header}{what}"));
    }
    side
}
