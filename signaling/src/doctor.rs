//! `causeway doctor`: what is wrong with this host and this configuration, in words, with what mends it.
//!
//! Each check is a module that says what it has found; none of them says a secret, so that all of it can be shown to others. What
//! needs neither a third party nor a call is looked at when a gateway starts, too.
//!
//! | module | one line |
//! |---|---|
//! | `host` | files, kernel, connection tracking |
//! | `clock` | whether the time is right |
//! | `doors` | whether the listeners are free, or answer |
//! | `address` | the advertised address, the NAT on the way, and hairpin |
//! | `certificate` | name, chain, end, and who trusts it |
//! | `stored` | the database |
//! | `relays` | the relays elsewhere |
//! | `names` | what name servers say of the domain |
//! | `call` | a call between a browser and a phone, with a tone in both directions |

mod address;
mod call;
mod certificate;
mod clock;
mod doors;
mod host;
mod names;
mod relays;
mod stored;
mod stun;
mod tls;

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::commands::ask::{self, NoGateway};
use crate::config::Config;
use crate::gateway;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// It could not be looked at.
    Skipped,
    /// Some will have trouble.
    Warning,
    /// Calls fail.
    Fault,
}

impl Level {
    /// For people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check, a word.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// A sentence without a stop.
    pub what: String,
    /// What to do.
    pub cure: Option<String>,
}

impl Finding {
    /// For people: a line, and one more for what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let line = format!("{:<8} {:<12} {}\n", self.level.as_str(), self.check, self.what);
        let cure = self.cure.as_ref().map(|cure| format!("{:<21} → {cure}\n", ""));
        line + &cure.unwrap_or_default()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "check": self.check, "level": self.level.as_str(), "what": self.what, "cure": self.cure })
    }
}

/// What one check finds.
#[derive(Debug)]
struct Findings {
    check: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    const fn of(check: &'static str) -> Self {
        Self { check, list: Vec::new() }
    }

    fn add(&mut self, level: Level, what: String, cure: Option<String>) {
        self.list.push(Finding { check: self.check, level, what, cure });
    }

    fn good(&mut self, what: impl Into<String>) {
        self.add(Level::Good, what.into(), None);
    }

    /// It could not be looked at; how it could.
    fn skip(&mut self, what: impl Into<String>, how: impl Into<String>) {
        self.add(Level::Skipped, what.into(), Some(how.into()));
    }

    fn warn(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.add(Level::Warning, what.into(), Some(cure.into()));
    }

    fn fault(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.add(Level::Fault, what.into(), Some(cure.into()));
    }
}

/// What is looked at beyond this host.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// STUN servers that are asked where they see this host, as `HOST:PORT`.
    pub stun: Vec<String>,
    /// A time server, as `HOST` or `HOST:PORT`.
    pub ntp: Option<String>,
    /// Whether a call is made.
    pub call: bool,
}

/// What all checks go by.
struct Scene<'a> {
    config: &'a Config,
    options: &'a Options,
    addresses: Vec<IpAddr>,
    domain: String,
    /// What the running gateway says of its health.
    running: Option<Value>,
}

impl<'a> Scene<'a> {
    /// Of a host that has the loopback alone, where no gateway runs.
    #[cfg(test)]
    fn bare(config: &'a Config, options: &'a Options) -> Self {
        let addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        Self { config, options, addresses, domain: "sip.example".into(), running: None }
    }

    /// The first address of this host that others can reach.
    fn primary(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(std::net::Ipv4Addr::LOCALHOST.into())
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }
}

/// Looks at everything; `tell` hears of each finding when it is known. The worst of them.
///
/// # Errors
/// `tell` fails, or this host does not say which addresses it has.
pub async fn examine(
    config: &Config,
    options: &Options,
    mut tell: impl FnMut(&Finding) -> anyhow::Result<()>,
) -> anyhow::Result<Level> {
    let addresses = gateway::host_addresses(config)?;
    let domain = gateway::domain(config, &addresses);
    let mut worst = Level::Good;
    let mut say = |findings: Findings| {
        for finding in &findings.list {
            worst = worst.max(finding.level);
            tell(finding)?;
        }
        anyhow::Ok(())
    };
    say(configuration(config))?;
    let (running, findings) = gateway_of(config);
    say(findings)?;
    let scene = Scene { config, options, addresses, domain, running };
    say(host::look(&scene))?;
    say(clock::look(options.ntp.as_deref()).await)?;
    say(doors::look(&scene).await)?;
    say(address::look(&scene).await)?;
    say(certificate::look(&scene).await)?;
    say(stored::look(&scene).await)?;
    say(relays::look(&scene).await)?;
    say(names::look(&scene).await)?;
    say(call::look(&scene).await)?;
    Ok(worst)
}

/// The same without asking third parties and without a call, for the log of a gateway that has started.
pub(crate) async fn at_start(config: Config) {
    let (options, running) = (Options::default(), Some(Value::Null));
    let addresses = match gateway::host_addresses(&config) {
        Ok(addresses) => addresses,
        Err(error) => return tracing::error!(error = format!("{error:#}"), "nothing is looked at"),
    };
    let domain = gateway::domain(&config, &addresses);
    let scene = Scene { config: &config, options: &options, addresses, domain, running };
    let found = [
        host::look(&scene),
        clock::look(None).await,
        address::look(&scene).await,
        certificate::look(&scene).await,
        names::look(&scene).await,
    ];
    // A first start says by itself how to have browsers know the local CA.
    let is_known = |finding: &Finding| {
        finding.check == "certificate" && config.certificate.is_none() && finding.level == Level::Warning
    };
    let found = found.into_iter().flat_map(|findings| findings.list).filter(|finding| !is_known(finding));
    for Finding { check, level, what, cure } in found {
        let cure = cure.unwrap_or_default();
        match level {
            Level::Good | Level::Skipped => {}
            Level::Warning => tracing::warn!(check, cure, "{what}"),
            Level::Fault => tracing::error!(check, cure, "{what}"),
        }
    }
}

fn configuration(config: &Config) -> Findings {
    let mut findings = Findings::of("config");
    for warning in &config.warnings {
        findings.warn(warning, "take the key out");
    }
    if !config.auth.required {
        let what = "auth.required is false: everybody who reaches this gateway is whom he says";
        findings.fault(what, "take auth.required out, and give everybody an account");
    }
    if findings.list.is_empty() {
        findings.good("every key is known, and has a value that is allowed");
    }
    findings
}

/// What the gateway of this data directory says of itself, where one runs.
fn gateway_of(config: &Config) -> (Option<Value>, Findings) {
    let mut findings = Findings::of("gateway");
    let health = match ask::call(config, "core.health", &[]) {
        Ok(health) => health,
        Err(error) if error.is::<NoGateway>() => {
            findings.skip(format!("{error}"), "start it (causeway run), and ask again: then a call is made");
            return (None, findings);
        }
        Err(error) => {
            findings
                .fault(format!("it runs and does not answer: {error:#}"), "look at its log; start it again");
            return (None, findings);
        }
    };
    for (list, is_fault) in [("faults", true), ("not_ready", true), ("notes", false)] {
        for sentence in health[list].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let cure = "look at its log";
            if is_fault { findings.fault(sentence, cure) } else { findings.warn(sentence, cure) }
        }
    }
    if findings.list.is_empty() {
        findings.good("it runs, and takes calls");
    }
    (Some(health), findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_cure() {
        let mut findings = Findings::of("clock");
        findings.good("it is right");
        findings.warn("it is 3 s ahead", "run an NTP client");
        let text: String = findings.list.iter().map(Finding::text).collect();
        let cure = "                      → run an NTP client\n";
        assert_eq!(
            text,
            format!("ok       clock        it is right\nwarning  clock        it is 3 s ahead\n{cure}")
        );
        assert_eq!(findings.list[1].json()["level"], "warning");
        assert!(Level::Fault > Level::Warning && Level::Warning > Level::Skipped);
    }

    #[test]
    fn a_configuration_that_lets_everybody_in_is_a_fault() {
        let config = |text| Config::parse(text, "x.toml").unwrap();
        let level = |text| configuration(&config(text)).list[0].level;
        assert_eq!(level(""), Level::Good);
        assert_eq!(level("[auth]\nrequired = false\n"), Level::Fault);
        assert_eq!(level("[timers]\ndelete_timer = 200\n"), Level::Warning);
    }
}
