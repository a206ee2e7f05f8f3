//! The `causeway` command.
//!
//! Exit codes: 0 done, 1 something failed while running, 2 the command line or the configuration is wrong.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use causeway::config::{Config, ConfigError};
use causeway::demo::{self, Screen};
use causeway::gateway::{self, Gateway};
use causeway::store::Database;
use causeway::{accounts, host, logging};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// A WebRTC-to-SIP gateway in one binary.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the gateway.
    Run {
        #[command(flatten)]
        file: File,
        /// Make two accounts and show what to type into a phone.
        #[arg(long)]
        demo: bool,
    },
    /// Accounts.
    User {
        #[command(subcommand)]
        command: User,
        #[command(flatten)]
        file: File,
        /// The SIP domain, when it is not the gateway's own.
        #[arg(long, global = true)]
        domain: Option<String>,
    },
    /// The configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Args)]
struct File {
    /// The configuration file; without one the defaults hold.
    #[arg(long = "config", value_name = "FILE", global = true)]
    path: Option<PathBuf>,
}

#[derive(Subcommand)]
enum User {
    /// Make an account; its password is one line on standard input.
    Add { name: String },
    /// Show all accounts.
    List,
    /// Change a password; the new one is one line on standard input.
    Passwd { name: String },
    /// Remove an account and its registrations.
    Remove { name: String },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether a file can be used, and if not, where it is wrong.
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Print a file with every key, its meaning and its default.
    Sample,
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

#[allow(clippy::print_stderr, reason = "the one place where the program speaks before or after logging")]
fn say_error(error: &anyhow::Error) {
    eprintln!("causeway: {error:#}");
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { file, demo } => {
            let config = file.read()?;
            logging::start(&config.log)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let result = runtime.block_on(run(config, demo));
            runtime.shutdown_timeout(std::time::Duration::from_millis(100));
            result
        }
        Command::User { command, file, domain } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(user(command, &file.read()?, domain))
        }
        Command::Config { command: ConfigCommand::Sample } => say(&causeway::config::sample()),
        Command::Config { command: ConfigCommand::Check { file } } => {
            let config = file.read()?;
            let data = config.data_directory.display();
            say(&format!("the configuration is good (data directory {data})\n"))
        }
    }
}

impl File {
    fn read(&self) -> Result<Config, ConfigError> {
        self.path.as_deref().map_or_else(Config::defaults, Config::read)
    }
}

async fn run(config: Config, demo: bool) -> anyhow::Result<()> {
    // Before the start, so that a signal during it is not lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (directory, advertised) = (config.data_directory.clone(), config.advertised);
    let gateway = Gateway::start(config).await?;
    let accounts = match demo {
        true => demo::accounts(&directory, gateway.database(), gateway.domain()).await?.to_vec(),
        false => Vec::new(),
    };
    let local_ca = gateway.certificates().ca().is_some();
    let screen = Screen {
        domain: gateway.domain(),
        bound: gateway.bound(),
        advertised,
        local_ca,
        accounts: &accounts,
    };
    say(&screen.text())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping: calls are ended");
    gateway.stop().await?;
    tracing::info!("stopped");
    Ok(())
}

async fn user(command: User, config: &Config, domain: Option<String>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_directory).context("general.data_directory")?;
    let database = Database::open(&config.database()).await?;
    let own = || gateway::domain(config, &host::addresses().unwrap_or_default());
    let domain = domain.unwrap_or_else(own);
    match command {
        User::Add { name } => accounts::add(&database, &name, &domain, &accounts::read_password()?).await?,
        User::Passwd { name } => {
            accounts::change(&database, &name, &domain, &accounts::read_password()?).await?
        }
        User::Remove { name } => accounts::remove(&database, &name, &domain).await?,
        User::List => {
            let lines =
                database.accounts().await?.into_iter().map(|(user, domain)| format!("{user}@{domain}\n"));
            say(&lines.collect::<String>())?;
        }
    }
    database.close().await;
    Ok(())
}
