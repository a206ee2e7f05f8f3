//! Who is judged by the conformance tests: ours, or Kamailio, the same tests for both. `SUBJECT=kamailio` chooses.
//!
//! The tests speak only the network, so a test that both pass says something about RFC 3261 and not about our reading of it.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::baresip::Account;
use crate::chromium::find;
use crate::gateway::{DOMAIN, Gateway, host_address};
use crate::phone::Phone;
use crate::ports::Ports;
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// What the subject is to be, where a test wants something else than the usual.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The SIP domain served.
    pub domain: &'a str,
    /// The digest algorithms offered, the most preferred first. Kamailio offers the first one alone.
    pub algorithms: &'a [&'a str],
    /// More sections of our configuration, for what Kamailio does not do.
    pub more: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { domain: DOMAIN, algorithms: &["MD5"], more: "" }
    }
}

/// A running proxy and registrar, reached over UDP.
#[derive(Debug)]
pub enum Subject {
    /// The gateway of this project.
    Causeway(Box<Gateway>),
    /// Debian's Kamailio with a configuration of the same behaviour.
    Kamailio(Kamailio),
}

impl Subject {
    /// Starts the subject that the environment variable `SUBJECT` names, ours without one.
    pub async fn start() -> Result<Self> {
        Self::start_as(Setup::default()).await
    }

    /// The same with another domain or other algorithms.
    pub async fn start_as(setup: Setup<'_>) -> Result<Self> {
        match std::env::var("SUBJECT").as_deref() {
            Err(_) | Ok("causeway") => {
                let auth = format!("[auth]\nalgorithms = {:?}\n{}", setup.algorithms, setup.more);
                Ok(Self::Causeway(Box::new(Gateway::start_for(setup.domain, &auth).await?)))
            }
            Ok("kamailio") => Ok(Self::Kamailio(Kamailio::start(setup).await?)),
            Ok(other) => bail!("SUBJECT={other}: known are causeway and kamailio"),
        }
    }

    /// Whether [`Subject::start`] starts Kamailio.
    #[must_use]
    pub fn is_kamailio_chosen() -> bool {
        std::env::var("SUBJECT").is_ok_and(|subject| subject == "kamailio")
    }

    /// Where it listens.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        match self {
            Self::Causeway(gateway) => gateway.proxy(),
            Self::Kamailio(kamailio) => kamailio.address(),
        }
    }

    /// Whether it is Kamailio, which reads some messages in another way; the test that asks says in which.
    #[must_use]
    pub fn is_kamailio(&self) -> bool {
        matches!(self, Self::Kamailio(_))
    }

    /// A phone with an account, not registered.
    pub async fn phone(&self, user: &str) -> Result<Phone> {
        let account = match self {
            Self::Causeway(gateway) => gateway.account(user, PASSWORD)?,
            Self::Kamailio(kamailio) => kamailio.account(user),
        };
        Phone::new(account, self.proxy()).await
    }

    /// A phone that is registered.
    pub async fn registered(&self, user: &str) -> Result<Phone> {
        let mut phone = self.phone(user).await?;
        let answer = phone.register(300).await?;
        match answer.status() {
            Some(200) => Ok(phone),
            _ => bail!("not registered: {answer}"),
        }
    }
}

/// The password of every account.
const PASSWORD: &str = "one-for-all-9";

/// A running Kamailio.
#[derive(Debug)]
pub struct Kamailio {
    domain: String,
    port: u16,
    process: Process,
    _folder: TempDir,
    _ports: Ports,
}

impl Kamailio {
    /// An account there, which every name has.
    #[must_use]
    pub fn account(&self, user: &str) -> Account {
        Account { user: user.into(), password: PASSWORD.into(), domain: self.domain.clone() }
    }

    /// Where it listens, over UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(host_address(), self.port)
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Starts one with this setup.
    pub async fn start(setup: Setup<'_>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut ports = Ports::take().await?;
        let port = ports.listener()?;
        let file = folder.path().join("kamailio.cfg");
        let text = CONFIGURATION
            .replace("@ADDRESS@", &host_address().to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@FOLDER@", &folder.path().display().to_string())
            .replace("@DOMAIN@", setup.domain)
            .replace("@ALGORITHM@", setup.algorithms.first().unwrap_or(&"MD5"))
            .replace("@PASSWORD@", PASSWORD);
        fs::write(&file, text)?;
        let (file, home) = (file.display().to_string(), folder.path().display().to_string());
        let arguments = ["-DD", "-E", "-f", &file, "-Y", &home, "-m", "64", "-M", "8"];
        let process = Process::start(&find(&["kamailio"])?, &arguments, &[], folder.path())?;
        let domain = setup.domain.to_owned();
        let kamailio = Self { domain, port, process, _folder: folder, _ports: ports };
        until_it_answers(&kamailio.process, SocketAddr::new(host_address(), port)).await?;
        Ok(kamailio)
    }
}

/// Waits until the Kamailio of `process` answers an OPTIONS at `proxy`.
pub(crate) async fn until_it_answers(process: &Process, proxy: SocketAddr) -> Result<()> {
    let nobody = Account { user: "nobody".into(), password: String::new(), domain: DOMAIN.into() };
    wait::until("Kamailio to answer", PATIENCE, || async {
        let mut phone = Phone::new(nobody.clone(), proxy).await?;
        let request = phone.request("OPTIONS", &format!("sip:{DOMAIN}"), &format!("sip:{DOMAIN}"));
        phone.send(&request).await?;
        let answer = phone.receive_within("an answer", std::time::Duration::from_millis(300), |_| true).await;
        Ok(answer.is_ok().then_some(()))
    })
    .await
    .with_context(|| format!("Kamailio did not start:\n{}", process.tail()))
}

/// Kamailio set up as the gateway sets itself up: one domain, digest, record-routing, forking by q.
const CONFIGURATION: &str = r#"#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
# One reader, so that what one phone sends before another does is also handled first: the tests speak of order.
children=1
tcp_children=1
tcp_accept_no_cl=no
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=off
alias="@DOMAIN@"
listen=udp:@ADDRESS@:@PORT@
listen=tcp:@ADDRESS@:@PORT@

loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
loadmodule "auth.so"
loadmodule "kex.so"
loadmodule "stun.so"

modparam("auth", "algorithm", "@ALGORITHM@")
modparam("auth", "nonce_count", 1)
modparam("tm", "contacts_avp", "tm_contacts")
modparam("tm", "contact_flows_avp", "tm_contact_flows")
modparam("tm", "failure_reply_mode", 3)
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "use_domain", 1)
modparam("registrar", "max_contacts", 10)
modparam("registrar", "min_expires", 60)
modparam("registrar", "max_expires", 3600)
modparam("registrar", "default_expires", 3600)
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 2)
modparam("registrar", "outbound_mode", 1)
modparam("registrar", "gruu_enabled", 1)

request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	if (!sanity_check("17895", "7")) exit;
	if (is_method("OPTIONS") && uri==myself && $rU==$null) { sl_send_reply("200", "Keepalive"); exit; }
	if (is_method("CANCEL")) {
		if (t_check_trans()) t_relay();
		else sl_send_reply("481", "Call/Transaction Does Not Exist");
		exit;
	}
	if (!is_method("ACK")) {
		if (t_precheck_trans()) { t_check_trans(); exit; }
		t_check_trans();
	}
	if (has_totag()) {
		if (loose_route()) { t_relay(); exit; }
		if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
		sl_send_reply("404", "Not here");
		exit;
	}
	if (is_method("REGISTER") || from_uri==myself) {
		if (!pv_auth_check("@DOMAIN@", "@PASSWORD@", "0", "1")) {
			if (is_method("REGISTER")) www_challenge("@DOMAIN@", "1");
			else proxy_challenge("@DOMAIN@", "1");
			exit;
		}
		if (!is_method("REGISTER")) consume_credentials();
	}
	remove_hf("Route");
	if (is_method("INVITE|SUBSCRIBE")) record_route();
	if (is_method("REGISTER")) { if (!save("location")) sl_reply_error(); exit; }
	if ($rU == $null) { sl_send_reply("484", "Address Incomplete"); exit; }
	if (!uri==myself) { sl_send_reply("403", "Not relaying"); exit; }
	if (!lookup("location")) {
		switch ($rc) {
			case -1:
			case -3:
				t_newtran(); t_reply("404", "Not Found"); exit;
			case -2:
				sl_send_reply("405", "Method Not Allowed"); exit;
		}
	}
	# Contacts in the order of their q.
	if (is_method("INVITE")) {
		if (t_load_contacts() && t_next_contacts()) t_on_failure("NEXT");
	}
	if (!t_relay()) sl_reply_error();
}

failure_route[NEXT] {
	if (t_is_canceled() || t_check_status("6[0-9][0-9]")) exit;
	if (t_next_contacts()) {
		t_on_failure("NEXT");
		t_relay();
	}
}
"#;
