//! What the `causeway` command takes.

use std::path::PathBuf;

use causeway::config::{Config, ConfigError};
use clap::{Args, Parser, Subcommand};

use crate::table_commands::TableCommand;

/// A WebRTC-to-SIP gateway in one binary.
#[derive(Parser)]
#[command(name = "causeway", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
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
        #[command(flatten)]
        output: Output,
    },
    #[command(flatten)]
    Table(TableCommand),
    /// Have the running gateway read its tables and its configuration again, all or nothing; exit code 4 when keys have changed that
    /// count only after a restart.
    Reload {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Say whether the running gateway is well; exit code 1 if not, and 3 when none runs.
    Health {
        /// Also whether it is to be given calls: not while it drains, or no relay answers.
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Have the running gateway take no new calls, and stop when the last one has ended. Waits for it.
    Drain {
        /// End the calls that are still there after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// Go on for so many seconds though no call is left, so that whoever chooses between gateways has seen it.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        at_least: u64,
        /// Do not wait for the end.
        #[arg(long)]
        no_wait: bool,
        /// Have it take calls again.
        #[arg(long, conflicts_with_all = ["timeout", "at_least", "no_wait"])]
        cancel: bool,
        #[command(flatten)]
        file: File,
    },
    /// Say what is wrong with this host, this configuration and the gateway that runs, and what mends it; exit code 1 for a fault.
    /// Through a gateway that runs it makes calls between a browser and a phone, whose accounts it makes and removes again.
    Doctor {
        /// A STUN server that says where it sees this host; two of them also say which kind of NAT is on the way.
        #[arg(long, value_name = "HOST:PORT")]
        stun: Vec<String>,
        /// A time server to compare the clock with.
        #[arg(long, value_name = "HOST")]
        ntp: Option<String>,
        /// Make no call.
        #[arg(long)]
        no_call: bool,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Print what completes these commands in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, for man.
    Man,
    /// The contacts that are registered, as the database has them.
    Registrations {
        #[command(subcommand)]
        command: Registrations,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Ask the running gateway, or have it do something, by a method of Kamailio's kamcmd: system.listMethods says which.
    Rpc {
        /// Such as tm.stats.
        method: String,
        /// Its parameters in order; system.methodHelp METHOD says which.
        #[arg(allow_negative_numbers = true)]
        params: Vec<String>,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// Who may command the gateway over HTTPS (POST /rpc).
    Token {
        #[command(subcommand)]
        command: Token,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        output: Output,
    },
    /// The database.
    Db {
        #[command(subcommand)]
        command: Db,
        #[command(flatten)]
        file: File,
    },
    /// The configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Args)]
pub(crate) struct File {
    /// The configuration file; without one the defaults hold.
    #[arg(long = "config", value_name = "FILE", global = true)]
    path: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Output {
    /// For programs: JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Registrations {
    /// All of them.
    List,
    /// Those of one user.
    Show {
        /// NAME, or NAME@DOMAIN for another domain than the gateway's own.
        user: String,
    },
    /// Remove those of one user, or one of them.
    Remove {
        /// NAME, or NAME@DOMAIN for another domain than the gateway's own.
        user: String,
        /// The Contact URI as registrations show has it.
        contact: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it, once: only its hash is kept.
    Add { name: String },
    /// Show whose tokens there are.
    List,
    /// Take a token back.
    Remove { name: String },
}

#[derive(Subcommand)]
pub(crate) enum Db {
    /// Make every table and column that is missing.
    Create,
    /// Say what is there, and what is wrong with it.
    Check,
    /// Save everything as a SQLite file. A gateway may run meanwhile.
    Backup {
        /// The file, which must not be there.
        to: PathBuf,
    },
    /// Take accounts, registrations and tables over from a database of Kamailio's, or from a backup: all or nothing.
    ImportKamailio {
        /// sqlite:///FILE, postgres://USER:PASSWORD@HOST/NAME or mysql://USER:PASSWORD@HOST/NAME.
        url: String,
        /// Remove the rows of these tables that are there.
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum User {
    /// Make an account; its password is one line on standard input.
    Add { name: String },
    /// Show all accounts.
    List,
    /// Show one: its aliases, groups and short numbers.
    Show { name: String },
    /// Change a password; the new one is one line on standard input.
    Passwd { name: String },
    /// Remove an account and its registrations.
    Remove { name: String },
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a file can be used, and if not, where it is wrong.
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Print a file with every key, its meaning and its default.
    Sample,
}

impl File {
    /// The configuration of the file, or the defaults.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        Config::read(self.path.as_deref())
    }
}
