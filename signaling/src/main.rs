//! The `causeway` command.
//!
//! Exit codes: 0 done, 1 something failed while running, 2 the command line or the configuration is wrong, 3 no gateway runs that
//! could be asked, 4 the configuration was read again, and some of what has changed in it counts only after a restart.

mod command_line;
mod manual;
mod table_commands;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use causeway::commands::ask::{self, NoGateway};
use causeway::commands::reload::NeedsRestart;
use causeway::config::{Config, ConfigError};
use causeway::control::jsonrpc::{Fault, INVALID_PARAMS, METHOD_NOT_FOUND};
use causeway::control::token::Tokens;
use causeway::demo::{self, Screen};
use causeway::gateway::{self, Gateway};
use causeway::health::{self, Drain};
use causeway::store::Database;
use causeway::{accounts, commands, doctor, host, logging};
use clap::{CommandFactory as _, Parser as _};
use command_line::{Cli, Command, ConfigCommand, Db, Registrations, Token, User};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let asked_wrongly = |fault: &Fault| matches!(fault.code, METHOD_NOT_FOUND | INVALID_PARAMS);
    match error {
        _ if error.is::<ConfigError>() => 2,
        _ if error.is::<NoGateway>() => 3,
        _ if error.is::<NeedsRestart>() => 4,
        _ if error.downcast_ref().is_some_and(asked_wrongly) => 2,
        _ => 1,
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
            for warning in &config.warnings {
                tracing::warn!("{warning}");
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let result = runtime.block_on(run(config, demo));
            runtime.shutdown_timeout(std::time::Duration::from_millis(100));
            result
        }
        Command::User { command, file, domain, output } => {
            runtime()?.block_on(user(command, &file.read()?, domain, output.json))
        }
        Command::Table(command) => {
            let config = command.at().file.read()?;
            gateway::make_data_directory(&config.data_directory)?;
            let own = own_domain(&config);
            runtime()?.block_on(table_commands::execute(command, &config, &own))
        }
        Command::Reload { file, output } => {
            let answer = commands::reload::ask(&file.read()?)?;
            say(&if output.json { format!("{answer:#}\n") } else { commands::reload::shown(&answer) })?;
            Ok(commands::reload::whole(&answer)?)
        }
        Command::Health { ready, file, output } => {
            let (text, well) = commands::drain::health(&file.read()?, ready, output.json)?;
            say(&text)?;
            anyhow::ensure!(well, "the gateway is not well");
            Ok(())
        }
        Command::Drain { cancel: true, file, .. } => {
            ask::call(&file.read()?, "core.drain_cancel", &[]).map(drop)
        }
        Command::Drain { timeout, at_least, no_wait, file, .. } => {
            commands::drain::drain(&file.read()?, timeout, at_least, !no_wait, say)
        }
        Command::Doctor { stun, ntp, no_call, file, output } => {
            let options = doctor::Options { stun, ntp, call: !no_call };
            runtime()?.block_on(examine(&file.read()?, &options, output.json))
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "causeway", &mut text);
            say(&String::from_utf8(text)?)
        }
        Command::Man => say(&manual::page(&Cli::command())?),
        Command::Registrations { command, file, output } => {
            registrations(command, &file.read()?, output.json)
        }
        Command::Rpc { method, params, file, output } => {
            let params: Vec<&str> = params.iter().map(String::as_str).collect();
            let result = ask::call(&file.read()?, &method, &params)?;
            say(&if output.json { format!("{result:#}\n") } else { ask::shown(&result) })
        }
        Command::Token { command, file, output } => token(command, &file.read()?, output.json),
        Command::Db { command, file } => {
            let config = file.read()?;
            gateway::make_data_directory(&config.data_directory)?;
            say(&runtime()?.block_on(database(command, &config))?)
        }
        Command::Config { command: ConfigCommand::Sample } => say(&causeway::config::sample()),
        Command::Config { command: ConfigCommand::Check { file } } => {
            let config = file.read()?;
            for warning in &config.warnings {
                say(&format!("warning: {warning}\n"))?;
            }
            let data = config.data_directory.display();
            say(&format!("the configuration is good (data directory {data})\n"))
        }
    }
}

async fn database(command: Db, config: &Config) -> anyhow::Result<String> {
    let storage = config.storage();
    match command {
        Db::Create => commands::database::create(&storage).await,
        Db::Check => commands::database::check(&storage).await,
        Db::Backup { to } => commands::database::backup(&storage, &to).await,
        Db::ImportKamailio { url, replace } => commands::database::import(&storage, &url, replace).await,
    }
}

/// Tells what the doctor finds, for people as it comes.
async fn examine(config: &Config, options: &doctor::Options, json: bool) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let worst = doctor::examine(config, options, |finding| {
        if json {
            found.push(finding.json());
            return Ok(());
        }
        say(&finding.text())
    });
    let worst = worst.await?;
    if json {
        say(&format!("{:#}\n", serde_json::json!({ "worst": worst.as_str(), "findings": found })))?;
    }
    anyhow::ensure!(worst < doctor::Level::Fault, "something is wrong: see each fault");
    Ok(())
}

fn token(command: Token, config: &Config, json: bool) -> anyhow::Result<()> {
    gateway::make_data_directory(&config.data_directory)?;
    let tokens = Tokens::of(&config.data_directory);
    match command {
        Token::Add { name } => say(&format!("{}\n", tokens.add(&name)?)),
        Token::List if json => {
            let rows = tokens.names()?.into_iter().map(|name| serde_json::json!({ "name": name }));
            say(&format!("{:#}\n", rows.collect::<serde_json::Value>()))
        }
        Token::List => say(&tokens.names()?.iter().map(|name| format!("{name}\n")).collect::<String>()),
        Token::Remove { name } => tokens.remove(&name),
    }
}

fn registrations(command: Registrations, config: &Config, json: bool) -> anyhow::Result<()> {
    let (own, storage) = (own_domain(config), config.storage());
    fn of<'a>(user: &'a str, own: &'a str) -> (&'a str, &'a str) {
        user.rsplit_once('@').unwrap_or((user, own))
    }
    let user = match &command {
        Registrations::List => None,
        Registrations::Show { user } => Some(of(user, &own)),
        Registrations::Remove { user, contact } => {
            let (name, domain) = of(user, &own);
            let aor = format!("{name}@{domain}");
            let params: Vec<&str> = ["location", &aor].into_iter().chain(contact.as_deref()).collect();
            let method = if contact.is_some() { "ul.rm_contact" } else { "ul.rm" };
            return match ask::call(config, method, &params) {
                Err(error) if error.is::<NoGateway>() => {
                    let remove = commands::database::remove_registrations(
                        &storage,
                        (name, domain),
                        contact.as_deref(),
                    );
                    anyhow::ensure!(runtime()?.block_on(remove)?, "it is not there");
                    Ok(())
                }
                answer => answer.map(drop),
            };
        }
    };
    let list = runtime()?.block_on(commands::database::registrations(&storage, user))?;
    say(&list.show(json))
}

/// For a command that does one thing and ends.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn own_domain(config: &Config) -> String {
    gateway::domain(config, &host::addresses().unwrap_or_default())
}

async fn run(config: Config, demo: bool) -> anyhow::Result<()> {
    let files = host::raise_file_limit();
    if files < config.limits.connections as u64 + 2000 {
        tracing::warn!(
            files,
            "few open files allowed: raise the limit (ulimit -n) or lower limits.connections"
        );
    }
    // Before the start, so that a signal during it is not lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (directory, advertised) = (config.data_directory.clone(), config.advertised);
    let drain_timeout = config.drain_timeout;
    let gateway = Gateway::start(config).await?;
    let accounts = match demo {
        true => demo::accounts(&directory, gateway.database(), gateway.domain()).await?.to_vec(),
        false => Vec::new(),
    };
    let local_ca = !gateway.certificates().is_trusted();
    let screen = Screen {
        domain: gateway.domain(),
        bound: gateway.bound(),
        advertised,
        local_ca,
        accounts: &accounts,
    };
    say(&screen.text())?;
    commands::reload::note_process(&directory)?;
    health::notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => {
                // Whoever asks twice cannot wait.
                if drain_timeout.is_zero() || gateway.health().is_draining() {
                    break;
                }
                tracing::info!(seconds = drain_timeout.as_secs(), "draining: no new calls are taken");
                let now = Instant::now();
                gateway.health().drain(Drain { not_before: now, until: Some(now + drain_timeout) });
                health::notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
            }
            // The log has what becomes of it.
            _ = hangup.recv() => drop(gateway.control().reload().await),
            () = gateway.drained() => break,
        }
    }
    health::notify(&[NotifyState::Stopping]);
    // The next one writes its own; that this one is not there is no reason to fail now.
    let _ = std::fs::remove_file(commands::reload::pid_file(&directory));
    tracing::info!("stopping: calls are ended");
    tokio::select! {
        stopped = gateway.stop() => stopped?,
        // Whoever presses Ctrl-C twice means it.
        _ = interrupt.recv() => anyhow::bail!("interrupted while stopping"),
    }
    tracing::info!("stopped");
    Ok(())
}

async fn user(command: User, config: &Config, domain: Option<String>, json: bool) -> anyhow::Result<()> {
    gateway::make_data_directory(&config.data_directory)?;
    let database = Database::connect(&config.storage()).await?;
    let domain = domain.unwrap_or_else(|| own_domain(config));
    match command {
        User::Add { name } => accounts::add(&database, &name, &domain, &accounts::read_password()?).await?,
        User::Passwd { name } => {
            accounts::change(&database, &name, &domain, &accounts::read_password()?).await?
        }
        User::Remove { name } => accounts::remove(&database, &name, &domain).await?,
        User::List if json => {
            say(&commands::rows::USER.list(&config.storage(), &[]).await?.show(true))?;
        }
        User::Show { name } => {
            let all = commands::rows::user(&config.storage(), &name, &domain).await?;
            say(&commands::listing::Listing::show_all(&all, json))?;
        }
        User::List => {
            let lines =
                database.accounts().await?.into_iter().map(|(user, domain)| format!("{user}@{domain}\n"));
            say(&lines.collect::<String>())?;
        }
    }
    database.close().await;
    Ok(())
}
