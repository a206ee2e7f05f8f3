//! The tables that requests are routed by, as one snapshot in memory.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use regex::Regex;
use signaling_core::dispatcher::{self, Dispatcher, Known};
use signaling_core::secfilter::{Lists, Rule};
use signaling_core::settings::normal_host;
use signaling_core::tables::{Address, Policy, Tables, Trusted};

use super::sql::{Row, Sql, Statement};

/// Reads all of them. A row that cannot be used is told of and left out.
///
/// # Errors
/// The database does not answer.
pub(super) async fn load(sql: &Sql, policy: Policy, known: &Arc<Known>) -> anyhow::Result<Tables> {
    let fetch = async |query: &'static str| sql.fetch(Statement::new(query, [])).await;
    let mut tables = Tables { policy, ..Tables::default() };
    for row in fetch("SELECT domain FROM domain").await? {
        tables.domains.insert(normal_host(&row.text(0)?));
    }
    for row in fetch("SELECT alias_username, alias_domain, username, domain FROM dbaliases").await? {
        let alias = aor(&row.text(0)?, &row.text(1)?);
        tables.aliases.insert(alias, format!("{}@{}", row.text(2)?, row.text(3)?));
    }
    for row in fetch("SELECT username, domain, sd_username, new_uri FROM speed_dial").await? {
        let caller = format!("{}@{}", row.text(0)?, row.text(1)?.to_lowercase());
        tables.speed_dial.insert((caller, row.text(2)?), row.text(3)?);
    }
    for row in fetch("SELECT grp, ip_addr, mask, port FROM address").await? {
        tables.addresses.extend(usable("address", &row, address(&row)));
    }
    for row in fetch("SELECT src_ip, proto, from_pattern, ruri_pattern FROM trusted").await? {
        if !row.text(1)?.eq_ignore_ascii_case("none") {
            tables.trusted.extend(usable("trusted", &row, trusted(&row)));
        }
    }
    let mut groups: HashMap<String, HashSet<String>> = HashMap::new();
    for row in fetch("SELECT username, domain, grp FROM grp").await? {
        let user = format!("{}@{}", row.text(0)?, row.text(1)?.to_lowercase());
        groups.entry(user).or_default().insert(row.text(2)?);
    }
    tables.groups = groups;
    let mut rules = Vec::new();
    for row in fetch("SELECT action, type, data FROM secfilter ORDER BY id").await? {
        rules.extend(usable("secfilter", &row, rule(&row)));
    }
    tables.secfilter = Lists::new(rules, tables.policy.dst_exact_match);
    let mut destinations = Vec::new();
    for row in fetch("SELECT setid, destination, flags, priority, attrs FROM dispatcher ORDER BY id").await? {
        destinations.push(destination(&row)?);
    }
    let refuse = |row: &dispatcher::Row| {
        tracing::warn!(table = "dispatcher", row = row.destination, "row not understood: no SIP URI");
    };
    tables.dispatcher = Arc::new(Dispatcher::new(destinations, Arc::clone(known), refuse));
    Ok(tables)
}

fn destination(row: &Row) -> Result<dispatcher::Row, sqlx::Error> {
    Ok(dispatcher::Row {
        set: row.int(0)?,
        destination: row.text(1)?,
        flags: u32::try_from(row.int(2)?).unwrap_or(0),
        priority: row.int(3)?,
        attrs: row.text(4)?,
    })
}

/// A row without a domain is for all of them.
fn aor(user: &str, domain: &str) -> String {
    let user = user.to_lowercase();
    if domain.is_empty() { user } else { format!("{user}@{}", domain.to_lowercase()) }
}

fn rule(row: &Row) -> anyhow::Result<Rule> {
    Ok(Rule::of_row(row.int(0)?, row.int(1)?, &row.text(2)?)?)
}

fn address(row: &Row) -> anyhow::Result<Address> {
    let text = row.text(1)?;
    // Kamailio takes a mask behind the address too.
    let (ip, mask) = text.split_once('/').map_or((text.as_str(), None), |(ip, mask)| (ip, Some(mask)));
    let mask = mask.map_or_else(|| Ok(row.int(2)?.try_into()?), |mask| anyhow::Ok(mask.parse()?))?;
    Ok(Address {
        group: row.int(0)?.try_into()?,
        ip: ip.parse()?,
        mask,
        port: (row.int(3)? & 0xffff).try_into()?,
    })
}

fn trusted(row: &Row) -> anyhow::Result<Trusted> {
    let pattern = |text: String| -> anyhow::Result<Option<Regex>> {
        if text.is_empty() { Ok(None) } else { Ok(Some(Regex::new(&text)?)) }
    };
    let protocol = row.text(1)?.to_ascii_lowercase();
    Ok(Trusted {
        ip: row.text(0)?.parse()?,
        protocol: (protocol != "any").then_some(protocol),
        from: pattern(row.text(2)?)?,
        ruri: pattern(row.text(3)?)?,
    })
}

fn usable<T, E: Display>(table: &str, row: &Row, read: Result<T, E>) -> Option<T> {
    read.inspect_err(|error| {
        let place = match table {
            "address" => 1,
            "secfilter" => 2,
            _ => 0,
        };
        let first = row.text(place).unwrap_or_default();
        let error = error.to_string().replace('\n', " ");
        tracing::warn!(table, row = first, error, "row not understood");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use signaling_core::secfilter::{Kind, Side};

    use super::*;
    use crate::store::{Database, DbMode};

    #[tokio::test]
    async fn rows_become_one_snapshot_and_bad_ones_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
        for statement in [
            "INSERT INTO domain (domain) VALUES ('Branch.Example')",
            "INSERT INTO dbaliases (alias_username, alias_domain, username, domain)
             VALUES ('Info', '', 'alice', 'example.com'), ('sales', 'Branch.example', 'bob', 'example.com')",
            "INSERT INTO speed_dial (username, domain, sd_username, new_uri) VALUES ('alice', 'example.com', '42', 'sip:bob@example.com')",
            "INSERT INTO address (grp, ip_addr, mask, port)
             VALUES (1, '192.0.2.0', 24, 0), (1, 'nowhere', 32, 0), (3, '198.51.100.0/25', 32, 5060)",
            "INSERT INTO trusted (src_ip, proto, from_pattern)
             VALUES ('192.0.2.9', 'any', NULL), ('192.0.2.8', 'udp', '('), ('192.0.2.7', 'none', NULL)",
            "INSERT INTO grp (username, domain, grp) VALUES ('alice', 'example.com', 'int')",
            "INSERT INTO secfilter (action, type, data)
             VALUES (0, 0, 'sipcli'), (1, 3, '192.0.2.7'), (2, 0, '555'), (2, 4, 'x'), (0, 1, 'Germany')",
            "INSERT INTO dispatcher (setid, destination, flags, priority, attrs)
             VALUES (1, 'sip:192.0.2.5:5060', 4, 0, ''), (1, 'sip:192.0.2.6', 0, 7, 'weight=50;duid=b'), (2, 'nowhere', 0, 0, '')",
        ] {
            database.sql().execute(Statement::new(statement, [])).await.unwrap();
        }
        let tables = load(database.sql(), Policy::default(), &Arc::default()).await.unwrap();
        assert!(tables.is_domain("BRANCH.example.") && !tables.is_domain("example.com"));
        assert_eq!(tables.alias("info", "branch.example"), Some("alice@example.com"));
        assert_eq!(tables.alias("SALES", "branch.example"), Some("bob@example.com"));
        assert_eq!(tables.alias("sales", "example.com"), None);
        assert_eq!(tables.speed_dial.len(), 1);
        let masks: Vec<_> = tables.addresses.iter().map(|address| (address.mask, address.port)).collect();
        assert_eq!(masks, [(24, 0), (25, 5060)]);
        assert_eq!(tables.trusted.len(), 1);
        let lists = &tables.secfilter;
        assert_eq!(lists.find(Kind::UserAgent, "SIPCLI/1.8"), Some(Side::Black));
        assert_eq!(lists.find_ip([192, 0, 2, 7].into()), Some(Side::White));
        assert!(lists.bars("555") && lists.bars("5551"), "beginnings: the policy does not say otherwise");
        assert!(!lists.knows(Kind::Country) && !lists.bars("x"), "what is no row of the table");
        let gateways = &tables.dispatcher.sets[&1].gateways;
        let shown: Vec<_> = gateways.iter().map(|gateway| (&*gateway.uri, gateway.state.letters())).collect();
        assert_eq!(shown, [("sip:192.0.2.6", "AX".to_owned()), ("sip:192.0.2.5:5060", "DX".to_owned())]);
        assert_eq!((gateways[0].attrs.weight, tables.dispatcher.sets.len()), (50, 1));
        assert!(tables.is_in("alice@example.com", "int") && !tables.is_in("alice@example.com", "ld"));
    }
}
