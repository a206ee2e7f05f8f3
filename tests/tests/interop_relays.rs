//! Several relays behind our proxy, real ones: a call goes on when the one that carries it dies. And what of rtpengine's
//! surroundings works with our relay: its control program, the service manager.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::baresip::Baresip;
use e2e::chromium::find;
use e2e::gateway::{DOMAIN, Gateway, relay_binary};
use e2e::peers::NgRelay;
use e2e::ports::Ports;
use e2e::process::Process;
use e2e::scene::{EVENTS, PHONE_TONE, Scene, Talk};
use e2e::tone::write_wav;
use e2e::wait::{self, PATIENCE};

const OTHER_PHONE_TONE: f64 = 620.0;
const ANNOUNCEMENT: f64 = 740.0;

/// A gateway whose calls all go to `first`, while that is there.
async fn gateway(first: &NgRelay, then: &NgRelay) -> Result<Gateway> {
    // The section of media is the last one, so that these lines are more of it.
    Gateway::start_with(&format!(
        "relay = \"udp:{}=1000 udp:{}=0\"\nping_interval = 1\nrtpengine_tout_ms = 1000\nrtpengine_retr = 3\n",
        first.ng, then.ng
    ))
    .await
}

async fn carries(relay: &NgRelay, calls: usize) -> Result<()> {
    wait::until("the relay to have the call", PATIENCE, || async {
        Ok((relay.calls().await == calls).then_some(()))
    })
    .await
}

/// rtpengine dies under a call between a page and a phone, and our relay takes it over.
#[tokio::test]
async fn page_and_phone_go_on_when_rtpengine_dies() -> Result<()> {
    let (first, then) = (NgRelay::rtpengine().await?, NgRelay::causeway().await?);
    let mut scene = Scene::set_at(gateway(&first, &then).await?).await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    ensure!((first.calls().await, then.calls().await) == (1, 0), "all calls go to the first relay");
    first.kill()?;
    scene.house.gateway.logs(&["call goes on through another relay"]).await?;
    scene.both_hear().await?;
    carries(&then, 1).await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(None).await?;
    then.is_idle().await
}

/// Our relay dies under a call between two phones, and rtpengine takes it over.
#[tokio::test]
async fn phones_go_on_when_our_relay_dies() -> Result<()> {
    let (first, then) = (NgRelay::causeway().await?, NgRelay::rtpengine().await?);
    let mut gateway = gateway(&first, &then).await?;
    let bob = gateway.account("bob", "phone-of-bob-2")?;
    let carol = gateway.account("carol", "phone-of-carol-3")?;
    let (mut bob, mut carol) = tokio::try_join!(
        Baresip::registered(&bob, gateway.proxy(), "udp", PHONE_TONE),
        Baresip::registered(&carol, gateway.proxy(), "udp", OTHER_PHONE_TONE)
    )?;
    let marks = (bob.mark(), carol.mark());
    bob.dial(&format!("sip:carol@{DOMAIN}")).await?;
    carol.event_after(marks.1, "CALL_INCOMING").await?;
    carol.accept().await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    first.kill()?;
    gateway.logs(&["call goes on through another relay"]).await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    carries(&then, 1).await?;
    // The dialog is whole: either end's BYE has a number that the other takes.
    carol.hang_up().await?;
    bob.event_after(marks.0, "CALL_CLOSED").await?;
    then.is_idle().await
}

/// Whoever calls nobody hears so, from the relay of the gateway and from rtpengine.
#[tokio::test]
async fn a_caller_of_nobody_hears_an_announcement() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sound = folder.path().join("nobody.wav");
    write_wav(&sound, ANNOUNCEMENT, 8000, 40)?;
    let announcements = format!("announcements = [\"404={}\"]\n", sound.display());
    let rtpengine = NgRelay::rtpengine().await?;
    for relay in [String::new(), format!("relay = \"udp:{}\"\n", rtpengine.ng)] {
        let gateway = Gateway::start_with(&format!("{announcements}{relay}")).await?;
        let bob = gateway.account("bob", "phone-of-bob-2")?;
        let mut bob = Baresip::registered(&bob, gateway.proxy(), "udp", PHONE_TONE).await?;
        let mark = bob.mark();
        bob.dial(&format!("sip:nobody@{DOMAIN}")).await?;
        bob.hears(ANNOUNCEMENT).await?;
        bob.hang_up().await?;
        bob.event_after(mark, "CALL_CLOSED").await?;
    }
    rtpengine.is_idle().await
}

/// A key of INFO for a phone that has its keys in the media, and for one that refuses INFO, through a relay elsewhere.
async fn a_key_passes_by(relay: &NgRelay, more: &str, refused: bool) -> Result<()> {
    const FIVE: u8 = 5;
    let gateway = Gateway::start_with(&format!("relay = \"udp:{}\"\n{more}", relay.ng)).await?;
    let mut talk = Talk::begin(&gateway).await?;
    talk.both_hear().await?;
    let mut info = talk.dialog.request(&mut talk.caller, "INFO");
    info.headers.push(("Content-Type".into(), "application/dtmf-relay".into()));
    info.body = format!("Signal={FIVE}\r\nDuration=160\r\n");
    let answered = async {
        match refused {
            true => Talk::answered(&mut talk.callee, "INFO", 415, "Unsupported Media Type").await,
            false => Ok(()),
        }
    };
    let (ok, answered) = tokio::join!(talk.caller.transact(info), answered);
    answered?;
    ensure!(ok?.status() == Some(200), "the sender hears that all is well");
    let is_five = |packet: &Vec<u8>| packet.len() == 16 && packet[1] & 0x7f == EVENTS && packet[12] == FIVE;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let [_, to_callee] = talk.speak(Duration::from_millis(500)).await?;
        if to_callee.iter().any(|packet| is_five(packet) && packet[13] & 0x80 != 0) {
            break;
        }
        ensure!(Instant::now() < deadline, "the key did not come");
    }
    talk.end().await
}

#[tokio::test]
async fn keys_of_info_are_pressed_at_our_relay_elsewhere() -> Result<()> {
    let relay = NgRelay::causeway().await?;
    a_key_passes_by(&relay, "", true).await?;
    a_key_passes_by(&relay, "dtmf = [\"dave=rtp\"]\n", false).await?;
    relay.is_idle().await
}

#[tokio::test]
async fn keys_of_info_are_pressed_at_rtpengine() -> Result<()> {
    let relay = NgRelay::rtpengine().await?;
    a_key_passes_by(&relay, "dtmf = [\"dave=rtp\"]\n", false).await?;
    relay.is_idle().await
}

/// What Debian's `rtpengine-ctl` prints for a command.
async fn control(relay: &NgRelay, command: &str) -> Result<String> {
    let program = find(&["rtpengine-ctl"])?;
    let output = tokio::process::Command::new(program)
        .args(["-ip", &relay.cli.ip().to_string(), "-port", &relay.cli.port().to_string()])
        .args(["-config-file", "/nonexistent"])
        .args(command.split(' '))
        .output()
        .await?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The shape of an answer: its words and signs, with every number the same.
fn shape(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut last = ' ';
        for c in line.chars() {
            let c = if c.is_ascii_digit() { '9' } else { c };
            if !(c == last && matches!(c, '9' | ' ')) {
                out.push(c);
            }
            last = c;
        }
        out.push('\n');
    }
    out
}

/// rtpengine's control program is answered by our relay as by rtpengine itself.
#[tokio::test]
async fn rtpengine_ctl_works_with_our_relay() -> Result<()> {
    let (theirs, ours) = (NgRelay::rtpengine().await?, NgRelay::causeway().await?);
    for command in [
        "list numsessions",
        "list sessions all",
        "list sessions own",
        "list sessions foreign",
        "list sessions none",
        "list maxsessions",
        "list maxopenfiles",
        "list timeout",
        "list silenttimeout",
        "list offertimeout",
        "list finaltimeout",
        "list deletedelay",
        "list transcoders",
        "set maxsessions 10",
        "set maxsessions -5",
        "set timeout 61",
        "set silenttimeout 3601",
        "set finaltimeout 7201",
        "set deletedelay 5",
        "get timeout",
        "list frobnicate",
        "terminate none",
        "terminate all",
        "terminate own",
        "terminate foreign",
    ] {
        let (their, our) = (control(&theirs, command).await?, control(&ours, command).await?);
        ensure!(shape(&our) == shape(&their), "{command}: rtpengine says\n{their}\nours\n{our}");
    }
    // Every line of its totals is one of ours.
    let (their, our) = (control(&theirs, "list totals").await?, control(&ours, "list totals").await?);
    let named = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        lines
            .filter(|name| !name.contains("Min/Max") && !name.contains("raphite") && !name.contains('|'))
            .collect()
    };
    let have = named(&our);
    let missing: Vec<String> = named(&their).into_iter().filter(|name| !have.contains(name)).collect();
    ensure!(missing.is_empty(), "not in our totals: {missing:?}\n{our}");
    let json: serde_json::Value = serde_json::from_str(&control(&ours, "list jsonstats").await?)?;
    ensure!(json["currentstatistics"]["sessionsown"] == 0, "{json}");
    Ok(())
}

/// Every option of rtpengine's, long and short, is one of ours, so that its command line starts our relay, or says why not.
#[tokio::test]
async fn our_relay_knows_every_option_of_rtpengine() -> Result<()> {
    let options = async |program: std::path::PathBuf| -> Result<Vec<String>> {
        let output = tokio::process::Command::new(program).arg("--help").output().await?;
        let text = String::from_utf8(output.stdout)?;
        let named = text.lines().filter(|line| line.trim_start().starts_with('-'));
        let words = named.flat_map(|line| line.split_whitespace().take_while(|word| word.starts_with('-')));
        let bare = |word: &str| word.trim_end_matches(',').split('=').next().unwrap_or_default().to_owned();
        Ok(words.map(bare).collect())
    };
    let (theirs, ours) = tokio::try_join!(options(find(&["rtpengine"])?), options(relay_binary()?))?;
    ensure!(theirs.len() > 150, "{theirs:?}");
    let known = |option: &&String| ours.contains(option) || option.starts_with("--log-level-");
    let missing: Vec<_> = theirs.iter().filter(|option| !known(option)).collect();
    ensure!(missing.is_empty(), "not known to our relay: {missing:?}");
    Ok(())
}

/// systemd hears when the relay is ready and when it stops, and SIGINT ends it within five seconds, with all doors open.
#[tokio::test]
async fn our_relay_is_a_service() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut ports = Ports::take().await?;
    let mut door = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.listener()?)));
    let (ng, tcp, http, cli) = (door()?, door()?, door()?, door()?);
    let (first, last) = ports.media();
    let options = [
        "--config-file=none".to_owned(),
        format!("--listen-ng={ng}"),
        format!("--listen-tcp-ng={tcp}"),
        format!("--listen-http={http}"),
        format!("--listen-cli={cli}"),
        format!("--port-min={first}"),
        format!("--port-max={last}"),
        format!("--pidfile={}", folder.path().join("pid").display()),
    ];
    let arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    let notify = path.to_str().context("a path that is no text")?.to_owned();
    let mut relay =
        Process::start(&relay_binary()?, &arguments, &[("NOTIFY_SOCKET", &notify)], folder.path())?;
    let told = |socket: UnixDatagram| {
        tokio::task::spawn_blocking(move || -> Result<(String, UnixDatagram)> {
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer).context("systemd was told nothing")?;
            Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), socket))
        })
    };
    let (ready, socket) = told(socket).await??;
    ensure!(ready.trim_end() == "READY=1", "{ready}");
    ensure!(folder.path().join("pid").exists(), "no pid file");
    // Those who are connected hold nothing up.
    let _connected =
        [tcp, http, cli].map(std::net::TcpStream::connect).into_iter().collect::<Result<Vec<_>, _>>()?;
    let asked = Instant::now();
    relay.signal("INT")?;
    let (stopping, _socket) = told(socket).await??;
    ensure!(stopping.trim_end() == "STOPPING=1", "{stopping}");
    let code = relay.ended(PATIENCE).await?;
    ensure!(code == Some(0), "ended with {code:?}:\n{}", relay.tail());
    ensure!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
    ensure!(!folder.path().join("pid").exists(), "the pid file stays");
    Ok(())
}
