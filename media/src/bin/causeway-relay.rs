//! The relay alone, behind Kamailio, OpenSIPS or anything else that speaks rtpengine's ng protocol.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use media::{Interface, Relay, RelayConfig};

/// Media relay between WebRTC browsers and SIP phones, controlled by the ng protocol.
#[derive(Debug, Parser)]
#[command(name = "causeway-relay", version)]
struct Options {
    /// Local address or device for media, [NAME/]ADDRESS[!ADVERTISED]; may be repeated. All addresses when absent.
    #[arg(short, long)]
    interface: Vec<Interface>,
    /// UDP address of the ng control port.
    #[arg(short = 'n', long, default_value = "127.0.0.1:2223")]
    listen_ng: SocketAddr,
    /// Lowest media port.
    #[arg(short = 'm', long, default_value_t = 30_000)]
    port_min: u16,
    /// Highest media port.
    #[arg(short = 'M', long, default_value_t = 40_000)]
    port_max: u16,
    /// Worker threads; 0 is one per core.
    #[arg(long, default_value_t = 0)]
    num_threads: usize,
    /// Seconds without media after which a call ends.
    #[arg(short = 'o', long, default_value_t = 60)]
    timeout: u64,
    /// The same for calls on hold.
    #[arg(short = 's', long, default_value_t = 3600)]
    silent_timeout: u64,
    /// Only answer ICE checks: for a host whose advertised address is public.
    #[arg(long)]
    ice_lite: bool,
    /// Refuse DTLS 1.3.
    #[arg(long)]
    dtls_12: bool,
}

/// The signal that asked to stop; 0 before.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn remember(signal: libc::c_int) {
    SIGNAL.store(signal, Ordering::Release);
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    media::stop_signals(remember).context("installing the signal handlers")?;
    let relay = Relay::start(RelayConfig {
        interfaces: options.interface,
        port_min: options.port_min,
        port_max: options.port_max,
        workers: options.num_threads,
        listen_ng: Some(options.listen_ng),
        dtls_12_only: options.dtls_12,
        ice_lite: options.ice_lite,
        media_timeout: Duration::from_secs(options.timeout),
        silent_timeout: Duration::from_secs(options.silent_timeout),
        plain_io: false,
    })
    .context("starting the relay")?;
    tracing::info!(ng = ?relay.ng_address(), "ready");
    while SIGNAL.load(Ordering::Acquire) == 0 {
        // A signal ends the sleep early.
        std::thread::park_timeout(Duration::from_millis(200));
    }
    relay.shutdown();
    tracing::info!("stopped");
    Ok(())
}
