//! The configuration read again: what counts then, what does not, and that a bad one changes nothing.

use std::process::Output;

use super::drain::Process;
use super::*;

/// A gateway, and the file of its configuration as it was at the start.
struct Configured(Process, String);

impl Configured {
    fn start() -> Self {
        let process = Process::start("");
        let text = std::fs::read_to_string(process.directory.path().join("x.toml")).unwrap();
        Self(process, text)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.directory.path().join(name)
    }

    /// The same with more in it.
    fn becomes(&self, more: &str) {
        std::fs::write(self.path("x.toml"), format!("{}{more}", self.1)).unwrap();
    }

    fn reload(&self) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.0.command(&["reload"]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    fn key(&self, section: &str, name: &str) -> String {
        let said = self.0.command(&["rpc", "cfg.get", section, name]);
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

#[tokio::test]
async fn what_counts_after_a_reload_and_what_does_not() {
    let gateway = Configured::start();
    assert_eq!(gateway.reload(), (Some(0), "reloaded\n".into(), String::new()));
    gateway.becomes("[pstn]\ngw_ip = \"192.0.2.7\"\n[tolls]\ncalls_per_day = 7\n[log]\nlevel = \"debug\"\n[timers]\nfr_timer = 4000\n");
    let (code, said, error) = gateway.reload();
    assert_eq!((code, &*said), (Some(4), "reloaded: log.level pstn.gw_ip tolls.calls_per_day\n"));
    assert_eq!(error, "causeway: these count from the next start on: timers.fr_timer\n");
    assert_eq!(
        (gateway.key("pstn", "gw_ip"), gateway.key("tolls", "calls_per_day")),
        ("192.0.2.7".into(), "7".into())
    );
    assert_ne!(gateway.key("timers", "fr_timer"), "4000", "it does not count");
    assert!(gateway.log().contains("these count from the next start on"), "{}", gateway.log());
    let level = gateway.0.command(&["rpc", "corex.debug", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&level.stdout).unwrap(), json!({ "debug": 3 }));
    let said = gateway.0.command(&["reload", "--json"]);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said, json!({ "taken_up": [], "need_restart": ["timers.fr_timer"] }));
    gateway.becomes("");
    assert_eq!(gateway.reload().0, Some(0));
    assert_eq!(gateway.key("pstn", "gw_ip"), "");
}

/// The file that is bad, or a file that it names: nothing of it counts.
#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let gateway = Configured::start();
    gateway.becomes("[pstn]\ngw_ip = \"192.0.2.7\"\n");
    assert_eq!(gateway.reload().0, Some(0));
    let good = std::fs::read_to_string(gateway.path("x.toml")).unwrap();
    gateway.becomes("[pstn]\ngw_ip = \"192.0.2.8\"\ngw_port = 70000\n");
    let (code, _, error) = gateway.reload();
    assert!(code == Some(2) && error.contains("x.toml, line"), "{code:?} {error}");
    // The gateway itself reads it as well, whoever asks with whatever file.
    std::fs::write(gateway.path("good.toml"), &good).unwrap();
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["reload", "--config", "good.toml"])
        .current_dir(gateway.0.directory.path())
        .output()
        .unwrap();
    let error = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(1) && error.contains("not reloaded: x.toml, line"), "{error}");
    assert!(gateway.log().contains("not reloaded: what was before counts"), "{}", gateway.log());

    std::fs::write(gateway.path("deny"), "192.0.2.0/24\nnobody\n").unwrap();
    gateway.becomes("[pstn]\ngw_ip = \"192.0.2.9\"\n[acl]\ndeny_file = \"deny\"\n");
    let (code, _, error) = gateway.reload();
    assert!(code == Some(1) && error.contains("deny"), "{code:?} {error}");
    assert_eq!(gateway.key("pstn", "gw_ip"), "192.0.2.7", "as it was");
    std::fs::write(gateway.path("deny"), "192.0.2.0/24\n").unwrap();
    let (code, said, _) = gateway.reload();
    assert_eq!((code, &*said), (Some(0), "reloaded: pstn.gw_ip acl.deny_file\n"));
}

/// A signal does the same.
#[tokio::test]
async fn a_hangup_reloads() {
    let gateway = Configured::start();
    gateway.becomes("[pstn]\ngw_ip = \"192.0.2.7\"\n");
    gateway.0.signal("HUP");
    let taken_up = async {
        while gateway.key("pstn", "gw_ip") != "192.0.2.7" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("it counts");
}
