//! The `causeway` command as a person uses it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn causeway(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wrong_file_is_exit_code_2_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.toml"), "[sip]\nudp = \"off\"\nworkers = 99\n").unwrap();
    for arguments in [&["config", "check", "--config", "x.toml"][..], &["run", "--config", "x.toml"]] {
        let output = causeway(directory.path(), arguments, "");
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert_eq!(
            error,
            "causeway: x.toml, line 3, column 11: sip.workers: 99 is out of range; allowed: 0 to 64 threads; 0 for one \
             per processor\n"
        );
    }
    let sample = causeway(directory.path(), &["config", "sample"], "");
    std::fs::write(directory.path().join("y.toml"), &sample.stdout).unwrap();
    let checked = causeway(directory.path(), &["config", "check", "--config", "y.toml"], "");
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert_eq!(causeway(directory.path(), &["frobnicate"], "").status.code(), Some(2));
    assert_eq!(causeway(directory.path(), &["run", "--config", "none.toml"], "").status.code(), Some(2));
}

#[test]
fn accounts_from_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], input: &str| {
        let output = causeway(directory.path(), arguments, input);
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run(&["user", "add", "carol", "--domain", "sip.example"], "secret\n").0, 0);
    let (code, _, error) = run(&["user", "add", "carol", "--domain", "sip.example"], "secret\n");
    assert!(code == 1 && error.contains("is there already"), "{error}");
    assert_eq!(run(&["user", "passwd", "carol", "--domain", "sip.example"], "other\n").0, 0);
    assert_eq!(run(&["user", "list"], "").1, "carol@sip.example\n");
    assert_eq!(run(&["user", "add", "dave", "--domain", "sip.example"], "\n").0, 1, "no password");
    assert_eq!(run(&["user", "remove", "carol", "--domain", "sip.example"], "").0, 0);
    assert_eq!(run(&["user", "list"], "").1, "");
    let file = std::fs::read(directory.path().join("var/causeway.sqlite")).unwrap();
    assert!(!file.windows(6).any(|window| window == b"secret"), "passwords are kept as hashes only");
}

#[test]
fn demo_shows_one_screen_and_a_signal_ends_it_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[network]\naddresses = [\"127.0.0.1\"]\n[sip]\nudp = \"127.0.0.1:0\"\ntcp = \"127.0.0.1:0\"\n\
                  tls = \"127.0.0.1:0\"\n[https]\nlisten = \"127.0.0.1:0\"\n[media]\nrelay = \"udp:127.0.0.1:9\"\n";
    std::fs::write(directory.path().join("x.toml"), config).unwrap();
    let screens = ["INT", "TERM", "core.kill"].map(|way| demo(directory.path(), way));
    let passwords = |screen: &[String]| -> Vec<String> {
        let found = screen.iter().filter(|line| line.to_ascii_lowercase().contains("password"));
        found.map(|line| line.split_whitespace().last().unwrap().to_owned()).collect()
    };
    assert_eq!(passwords(&screens[0]).len(), 2);
    assert_eq!(passwords(&screens[0]), passwords(&screens[1]), "the same accounts after a restart");
    assert_eq!(passwords(&screens[0]), passwords(&screens[2]));
}

/// Starts the demo, reads its screen, ends it by a signal or by a method of its control.
fn demo(directory: &Path, way: &str) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["run", "--config", "x.toml", "--demo"])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = line.contains("Then call");
        screen.push(line);
        if last {
            break;
        }
    }
    assert!(screen.iter().any(|line| line.contains("https://127.0.0.1:")), "{screen:?}");
    if way == "core.kill" {
        let rpc = |words: &[&str]| {
            let words = [&["rpc"], words, &["--config", "x.toml"]].concat();
            let output = causeway(directory, &words, "");
            assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        assert_eq!(rpc(&["corex.debug"]), "debug: 2\n");
        assert_eq!(rpc(&["corex.debug", "3"]), "old: 2\nnew: 3\n");
        assert_eq!(rpc(&["corex.debug", "-1"]), "old: 3\nnew: -1\n");
        rpc(&["core.kill"]);
    } else {
        let killed = Command::new("kill").args(["-s", way, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && begun.elapsed() < Duration::from_secs(5));
    let log = text(&output.stderr);
    for line in screen.iter().filter(|line| line.to_ascii_lowercase().contains("password")) {
        let password = line.split_whitespace().last().unwrap();
        assert!(!log.contains(password), "no password in the log");
    }
    screen
}
