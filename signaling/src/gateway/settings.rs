//! The settings of the core: from the configuration, from the files with what is secret, and from what is listened on.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rand::RngExt as _;
use signaling_core::secret::Secret;
use signaling_core::settings::{self, Settings, Voicemail};
use signaling_core::topology::Topoh;
use signaling_core::topology::topos::Topos;

use crate::config::Config;
use crate::host;
use crate::sounds::Sounds;
use crate::store::{Database, unix_now};
use crate::transport::Bound;

/// The key of the nonces, made at the first start: a phone that comes back after a restart with the nonce of before is told
/// that it is stale, and does not bother its user.
pub(super) fn secret(path: &Path) -> anyhow::Result<Secret> {
    let of = |text: &str| -> anyhow::Result<Secret> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).context("64 hexadecimal digits are expected")?;
        Ok(Secret(key))
    };
    let kept = match std::fs::read_to_string(path) {
        Ok(text) => of(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = hex::encode(rand::rng().random::<[u8; 32]>());
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(Into::into)
                .and_then(|()| of(&text))
        }
        Err(error) => Err(error.into()),
    };
    kept.with_context(|| format!("secret of nonces and GRUUs, {}", path.display()))
}

/// Masks of this installation are good for it alone, unless a key is set.
pub(super) fn masks(config: &Config, secret: &Secret) -> Topoh {
    let topoh = &config.topoh;
    let key = topoh.mask_key.clone().unwrap_or_else(|| secret.derive("topoh"));
    Topoh { key, ..topoh.names.clone() }
}

/// The key of what others carry for us. Of this run, for what is sealed names what is in memory; where the ends of a dialog are
/// hidden, it leads them to each other without that, and is understood by whoever understands the masks.
pub(super) fn seals(config: &Config, masks: &Topoh) -> Secret {
    let hidden = config.topoh.enabled || config.topos.enabled;
    if hidden { masks.key.derive("seals") } else { Secret(rand::rng().random()) }
}

/// What is hidden, with what was kept of it.
pub(super) async fn topos(
    config: &Config,
    masks: &Topoh,
    database: &Database,
) -> anyhow::Result<Option<Arc<Topos>>> {
    if !config.topos.enabled {
        return Ok(None);
    }
    let topos = Topos::new(config.topos.params, masks.clone());
    if config.topos.kept {
        let kept = database.keep_hidden(config.topos.params.dialog_expire, unix_now()).await;
        topos.load(kept.context("table topos_d")?, unix_now());
    }
    Ok(Some(Arc::new(topos)))
}

/// The settings with what is kept in files.
pub(super) fn whole(
    config: &Config,
    secret: Secret,
    domain: &str,
    bound: &[Bound],
    host_addresses: &[IpAddr],
    sounds: Sounds,
) -> Settings {
    let mut settings = settings(config, domain, bound, host_addresses);
    settings.secret = secret.derive("registrar");
    settings.topoh = config.topoh.enabled.then(|| masks(config, &secret));
    settings.sounds.music_on_hold = sounds.music_on_hold;
    settings.sounds.recording_notice = sounds.recording_notice;
    settings.sounds.announcements = sounds.announcements;
    settings.auth.secret = Some(secret);
    settings
}

fn settings(config: &Config, domain: &str, bound: &[Bound], host_addresses: &[IpAddr]) -> Settings {
    let mut aliases: Vec<String> = config.aliases.clone();
    aliases.extend(host_addresses.iter().chain(&config.advertised).map(ToString::to_string));
    aliases.push("localhost".to_owned());
    aliases.extend(host::name());
    aliases.retain(|alias| alias != domain);
    let advertised = |bound: &Bound| {
        let ip = config
            .advertised
            .filter(|ip| ip.is_ipv4() == bound.address.is_ipv4() && !bound.address.ip().is_loopback())?;
        Some((ip.to_string(), bound.address.port()))
    };
    let listeners = bound.iter().map(|bound| settings::Listener {
        protocol: bound.protocol,
        addr: bound.address,
        advertised: advertised(bound),
    });
    let defaults = Settings::default();
    Settings {
        domains: vec![domain.to_owned()],
        aliases,
        listeners: listeners.collect(),
        timers: config.timers,
        tm: config.tm.clone(),
        registrar: config.registrar.clone(),
        usrloc: config.usrloc,
        dispatcher: config.dispatcher.clone(),
        dialog: config.dialog,
        nathelper: config.nathelper.clone(),
        blst: config.blst,
        edge: config.edge.clone(),
        pike: config.pike.clone(),
        secfilter: config.secfilter.clone(),
        sanity: config.sanity.clone(),
        voicemail: config.voicemail_host.clone().map(|host| Voicemail { host, port: config.voicemail_port }),
        sounds: settings::Sounds {
            record_users: config.record_users.clone(),
            answered: config.announcements_answered.clone(),
            ..defaults.sounds
        },
        dtmf: config.dtmf.clone(),
        server_header: config.server_header.clone(),
        user_agent_header: config.user_agent_header.clone(),
        min_se: config.min_se,
        refer: config.refer,
        tls_alias: config.certificate.is_some(),
        udp: config.udp_settings.clone(),
        limits: settings::Limits {
            max_message_size: config.limits.message_size,
            stranger_percent: config.limits.stranger_percent,
            max_forwards: config.limits.max_forwards,
            max_branches: config.limits.max_branches,
            max_breadth: config.limits.max_breadth,
            max_pending: config.limits.max_pending,
            max_delay: config.limits.max_delay,
            retry_after: config.limits.retry_after,
        },
        auth: config.auth.clone(),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signaling_core::flow::Protocol;

    use super::*;

    #[test]
    fn the_secret_of_the_nonces_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.secret");
        let made = secret(&path).unwrap();
        assert!(secret(&path).unwrap() == made, "the same after a restart");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        let error = format!("{:#}", secret(&path).unwrap_err());
        assert!(error.contains("auth.secret") && error.contains("64 hexadecimal digits"), "{error}");
    }

    #[test]
    fn forking_is_as_configured_and_the_defaults_are_those_of_the_core() {
        let of = |text: &str| settings(&Config::parse(text, "test").unwrap(), "example.com", &[], &[]);
        let (defaults, core) = (of(""), Settings::default());
        assert_eq!((&defaults.tm, defaults.timers, defaults.blst), (&core.tm, core.timers, core.blst));
        assert_eq!(defaults.voicemail, None);
        let changed = of("[tm]\nserial_forking = false\ncancel_b_method = 2\nfailure_reply_mode = 2\n\
                          blst_503 = true\nblst_methods_lookup = -1\n[timers]\nfr_inv_timer_next = 9000\n\
                          [voicemail]\nsrv_ip = \"192.0.2.9\"\nsrv_port = 5070\n");
        assert!(!changed.tm.serial_forking && changed.blst.blst_503);
        assert_eq!(changed.tm.cancel_b_method, settings::CancelBMethod::AtOnce);
        assert_eq!(changed.tm.failure_reply_mode, settings::FailureReplyMode::DropLast);
        assert_eq!(changed.blst.methods_lookup, u32::MAX);
        assert_eq!(changed.timers.fr_inv_timer_next, Duration::from_secs(9));
        assert_eq!(changed.voicemail, Some(Voicemail { host: "192.0.2.9".into(), port: 5070 }));
    }

    /// Nodes with one key understand each other; without one, an installation understands itself after a restart.
    #[test]
    fn masks_are_made_with_the_key_that_is_set() {
        let of = |text: &str, secret: u8| masks(&Config::parse(text, "test").unwrap(), &Secret([secret; 32]));
        let on = "[topoh]\nenabled = true\n";
        assert!(of(on, 1) == of(on, 1) && of(on, 1) != of(on, 2));
        let seals = |text: &str, secret: u8| seals(&Config::parse(text, "test").unwrap(), &of(text, secret));
        assert!(seals(on, 1) == seals(on, 1) && seals(on, 1) != seals(on, 2) && seals("", 1) != seals("", 1));
        let keyed = format!("{on}mask_key = \"s3cret\"\nmask_ip = \"10.0.0.1\"\n");
        let (one, other) = (of(&keyed, 1), of(&keyed, 2));
        assert!(one == other && one.key != Secret::default() && seals(&keyed, 1) == seals(&keyed, 2));
        assert_eq!(
            (&*one.mask_ip, &*one.uparam_name, &*one.vparam_prefix),
            ("10.0.0.1", "line", "z9hG4bKsr-")
        );
        assert!(
            !format!("{:?}", Config::parse(&keyed, "test").unwrap()).contains("s3cret"),
            "no log shows it"
        );
    }

    #[test]
    fn every_name_of_the_host_is_ours() {
        let config =
            Config::parse("network.advertised = \"203.0.113.9\"\nsip.aliases = [\"gw.lan\"]", "test")
                .unwrap();
        let host = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1])];
        let bound = ["192.0.2.1:5060", "127.0.0.1:5060"]
            .map(|address| Bound { protocol: Protocol::Udp, address: address.parse().unwrap() });
        let settings = settings(&config, "example.com", &bound, &host);
        for name in ["example.com", "gw.lan", "localhost", "192.0.2.1", "127.0.0.1", "203.0.113.9"] {
            assert_eq!(settings.local_domain(name), Some("example.com"), "{name}");
        }
        assert_eq!(settings.local_domain("example.org"), None);
        let advertised: Vec<_> =
            settings.listeners.iter().map(|listener| listener.advertised.clone()).collect();
        assert_eq!(advertised, [Some(("203.0.113.9".to_owned(), 5060)), None], "loopback stays itself");
    }
}
