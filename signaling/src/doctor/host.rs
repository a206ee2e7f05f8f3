//! Files, kernel and connection tracking.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::{Findings, Scene};
use crate::config::Listen;

/// Files beside connections and media: listeners, database, logs.
const OTHER_FILES: u64 = 256;
/// What the kernel may give one socket to receive into where a flood of calls is not to lose any, octets.
const RECEIVE_BUFFER: u64 = 1 << 20;

pub(super) fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("host");
    files(scene, &mut findings);
    kernel(scene, Path::new("/proc"), &mut findings);
    if findings.list.is_empty() {
        findings.good("limits and kernel options leave room");
    }
    findings
}

fn files(scene: &Scene<'_>, findings: &mut Findings) {
    // The gateway raises the soft limit to the hard one by itself.
    let pid = scene.running.as_ref().and_then(|health| health["pid"].as_u64());
    let running = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    let own = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let allowed = running.as_deref().and_then(open_files).unwrap_or(own);
    let media = u64::from(scene.config.media.last_port.saturating_sub(scene.config.media.first_port)) + 1;
    let connections = scene.config.limits.connections as u64;
    let wanted = connections + media + OTHER_FILES;
    // Both at their limits at once is nobody's day.
    if allowed < connections.max(media) + OTHER_FILES {
        let what = format!(
            "{allowed} files may be open, where {connections} connections and {media} media ports can come to {wanted}"
        );
        findings.warn(
            what,
            format!("LimitNOFILE={wanted} (systemd), --ulimit nofile={wanted} (Docker), or fewer of both"),
        );
    }
}

/// The hard limit of open files in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let hard = line.split_whitespace().nth(1)?;
    if hard == "unlimited" { Some(u64::MAX) } else { hard.parse().ok() }
}

fn kernel(scene: &Scene<'_>, proc: &Path, findings: &mut Findings) {
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).ok();
    let number = |name: &str| read(name).and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(most) = number("sys/net/core/rmem_max").filter(|most| *most < RECEIVE_BUFFER) {
        let what = format!("a socket may hold {most} octets: a burst of calls or packets overflows it");
        findings.warn(what, format!("sysctl net.core.rmem_max={RECEIVE_BUFFER}"));
    }
    if let Some(modules) = read("modules")
        && let Some(helper) =
            ["nf_nat_sip", "nf_conntrack_sip"].iter().find(|name| has_module(&modules, name))
    {
        let what = format!(
            "the kernel rewrites SIP on its way ({helper}), and gets addresses wrong that are already right"
        );
        findings.warn(what, format!("rmmod nf_nat_sip nf_conntrack_sip, and: echo blacklist {helper} > /etc/modprobe.d/no-sip-alg.conf"));
    }
    let tracked =
        number("sys/net/netfilter/nf_conntrack_count").zip(number("sys/net/netfilter/nf_conntrack_max"));
    if let Some((count, most)) = tracked.filter(|(count, most)| count * 5 > most * 4) {
        let what =
            format!("{count} of {most} tracked connections are taken: the kernel drops packets of others");
        findings.warn(
            what,
            "do not track media ports (deploy/nftables), or raise net.netfilter.nf_conntrack_max",
        );
    }
    let range = read("sys/net/ipv4/ip_local_port_range").as_deref().and_then(pair);
    let reserved = read("sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let Some((low, high)) = range else { return };
    let config = scene.config;
    for (key, listen) in [
        ("sip.udp", config.udp),
        ("sip.tcp", config.tcp),
        ("sip.tls", config.tls),
        ("https.listen", config.https),
        ("https.websocket", config.websocket),
    ] {
        let port = match listen {
            Listen::Off => continue,
            Listen::Every(port) => port,
            Listen::One(address) => address.port(),
        };
        if (low..=high).contains(&port) && !is_listed(&reserved, port) {
            let what =
                format!("any program's connection may take port {port} of {key} before it is listened on");
            findings
                .warn(what, format!("sysctl net.ipv4.ip_local_reserved_ports={port}, or a port below {low}"));
        }
    }
}

fn has_module(modules: &str, name: &str) -> bool {
    modules.lines().any(|line| line.split(' ').next() == Some(name))
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether `port` is in a list like `8080,9000-9009`.
fn is_listed(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let config = Config::parse("[sip]\nudp = \"*:40000\"\n", "x.toml").unwrap();
        let options = Options::default();
        let scene = Scene::bare(&config, &options);
        let found = || {
            let mut findings = Findings::of("host");
            kernel(&scene, folder.path(), &mut findings);
            findings.list.into_iter().map(|finding| finding.what).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(found(), "", "a kernel that says nothing is not blamed");
        write("sys/net/core/rmem_max", "4194304\n");
        write("modules", "nf_conntrack 172032 1 nf_nat, Live 0x0\n");
        write("sys/net/netfilter/nf_conntrack_count", "80\n");
        write("sys/net/netfilter/nf_conntrack_max", "100\n");
        write("sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        write("sys/net/ipv4/ip_local_reserved_ports", "8080,39999-40001\n");
        assert_eq!(found(), "");
        write("sys/net/core/rmem_max", "212992\n");
        assert!(found().contains("212992 octets"), "{}", found());
        write("modules", "nf_conntrack_sip 1 0 - Live 0x0\n");
        assert!(found().contains("nf_conntrack_sip"), "{}", found());
        write("sys/net/netfilter/nf_conntrack_count", "81\n");
        assert!(found().contains("81 of 100"), "{}", found());
        write("sys/net/ipv4/ip_local_reserved_ports", "\n");
        assert!(found().contains("port 40000 of sip.udp"), "{}", found());
    }

    #[test]
    fn the_limit_of_a_process_is_read() {
        let line = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(line), Some(524_288));
        assert_eq!(open_files("Max open files  1  unlimited  files"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }
}
