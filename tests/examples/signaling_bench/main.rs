//! What signalling costs: CPU of the server per operation and memory per connection, ours beside Kamailio's where that is
//! installed, in turns on the same machine. `make bench-signaling` runs it; nothing here is a test, for times are the
//! machine's.
//!
//! Both keep registrations in memory and log warnings only; the last rows have a relay carry the media of calls, ours in the
//! process and for Kamailio rtpengine, and nobody speaks in them. Arguments: the number of rounds, and `contacts` for the memory of
//! many contacts alone, `keeping` for what records, accounts and registrations in a database cost, or `all` for these and the rows
//! with a relay too.

#![allow(clippy::print_stdout, reason = "its output is the result")]

mod browser;
mod calls;
mod keeping;
mod load;
mod phones;
mod server;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::calls::Caller;
use crate::server::{Kind, Server};

/// What is measured, and how much of Kamailio's cost ours may be, where that is said.
const ROWS: [(&str, Option<f64>); 9] = [
    ("REGISTER, CPU us", Some(0.7)),
    ("REGISTER with digest, CPU us", Some(0.7)),
    ("call UDP to UDP, CPU us", Some(0.6)),
    ("WSS connect, CPU us", Some(0.4)),
    ("idle registered WSS connection, KiB", Some(0.25)),
    ("call WSS to UDP, CPU us", Some(0.6)),
    ("call UDP to UDP with relay, CPU us", None),
    ("call WSS to UDP with relay, CPU us", None),
    ("300,000 contacts, MB in all", None),
];
/// What ours may take for those.
const CONTACTS_TARGET: f64 = 250.0;
const CONTACTS: u32 = 300_000;

type Figures = BTreeMap<(&'static str, Kind), Vec<f64>>;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(3), |rounds| rounds.parse::<usize>())?;
    let rows = std::env::args().nth(2).unwrap_or_default();
    let known = ["", "basic", "all", "contacts", "keeping"];
    anyhow::ensure!(known.contains(&&*rows), "no such rows: {rows} (of {})", known[1..].join(", "));
    if rows == "keeping" {
        return keeping::measure(rounds);
    }
    let (all_rows, contacts_alone) = (rows == "all", rows == "contacts");
    let rounds = if contacts_alone { 0 } else { rounds };
    let with_kamailio = server::kamailio().is_some();
    let kinds = if with_kamailio { vec![Kind::Causeway, Kind::Kamailio] } else { vec![Kind::Causeway] };
    let mut figures = Figures::new();
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        for kind in &kinds {
            measure(*kind, &mut figures)?;
            if all_rows {
                measure_with_relay(*kind, &mut figures)?;
            }
        }
    }
    // Memory does not differ from one time to the next.
    for kind in kinds.iter().filter(|_| all_rows || contacts_alone) {
        measure_contacts(*kind, &mut figures)?;
    }
    print_table(&figures, rounds, with_kamailio);
    if all_rows { keeping::measure(rounds) } else { Ok(()) }
}

fn note(figures: &mut Figures, row: usize, kind: Kind, figure: f64) {
    figures.entry((ROWS[row].0, kind)).or_default().push(figure);
}

fn measure(kind: Kind, figures: &mut Figures) -> Result<()> {
    let server = Server::start(kind, false)?;
    let mut note = |row, figure| note(figures, row, kind, figure);
    // First, before there are transactions whose timers cost something later.
    load::register(server.open, false, 500)?;
    // The first connections bring what is kept for the next.
    drop(browser::connect(server.wss, 100)?);
    let before = server.memory_kib();
    let mut held = Vec::new();
    let connecting = || {
        held = browser::connect(server.wss, 400)?;
        Ok(())
    };
    note(3, server.cpu_per_operation(400, connecting)?);
    browser::register_browsers(&mut held)?;
    sleep(Duration::from_secs(1));
    note(4, (server.memory_kib() - before) / 400.0);
    let callers = held.split_off(held.len() - 20);
    drop(held);
    sleep(Duration::from_secs(1));
    note(0, server.cpu_per_operation(4000, || load::register(server.open, false, 4000))?);
    note(1, server.cpu_per_operation(2000, || load::register(server.digest, true, 2000))?);
    let callee = calls::callee(server.open)?;
    let mut phone = Caller::phone(server.open)?;
    note(2, server.cpu_per_operation(2000, || calls::calls(&mut phone, &callee, 0..2000))?);
    let mut browsers = Caller::browsers(callers);
    note(5, server.cpu_per_operation(2000, || calls::calls(&mut browsers, &callee, 2000..4000))?);
    Ok(())
}

fn measure_with_relay(kind: Kind, figures: &mut Figures) -> Result<()> {
    if kind == Kind::Kamailio && server::rtpengine().is_none() {
        return Ok(());
    }
    let server = Server::start(kind, true)?;
    let callee = calls::callee(server.open)?;
    let mut phone = Caller::phone(server.open)?;
    let mut browsers = Caller::browsers(browser::connect(server.wss, 20)?);
    for (row, caller, first) in [(6, &mut phone, 0), (7, &mut browsers, 2000)] {
        // What is made once is not the call's.
        calls::calls(caller, &callee, first..first + 50)?;
        let cpu =
            server.cpu_per_operation(1000, || calls::calls(caller, &callee, first + 50..first + 1050))?;
        note(figures, row, kind, cpu);
    }
    Ok(())
}

fn measure_contacts(kind: Kind, figures: &mut Figures) -> Result<()> {
    let server = Server::start(kind, false)?;
    let phones = phones::register(server.open, CONTACTS)?;
    // The transactions of the last ones end; whoever is behind a NAT, as these are, is asked whether he is still there.
    phones.stay(Duration::from_secs(40))?;
    note(figures, 8, kind, server.memory_of_first_kib() * 1024.0 / 1e6);
    Ok(())
}

fn print_table(figures: &Figures, rounds: usize, with_kamailio: bool) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if rounds > 0 {
        println!(
            "\nMedians of {rounds} rounds on {cpus} processors; REGISTER and calls at 2000 and 500 a second"
        );
    }
    println!("{:<38}{:>10}{:>10}{:>8}{:>8}", "", "Causeway", "Kamailio", "ratio", "target");
    for (name, target) in ROWS {
        let of = |kind| figures.get(&(name, kind)).map(|all| median(all));
        let Some(ours) = of(Kind::Causeway) else { continue };
        match of(Kind::Kamailio) {
            Some(theirs) => {
                let ratio = ours / theirs;
                let verdict = target.map(|target| if ratio <= target { "reached" } else { "not reached" });
                let (target, verdict) = (shown(target), verdict.unwrap_or_default());
                println!("{name:<38}{ours:>10.1}{theirs:>10.1}{ratio:>8.2}{target:>8}  {verdict}");
            }
            None => println!("{name:<38}{ours:>10.1}{:>10}{:>8}{:>8}", "-", "-", shown(target)),
        }
    }
    if let Some(ours) = figures.get(&(ROWS[8].0, Kind::Causeway)).map(|all| median(all)) {
        let verdict = if ours <= CONTACTS_TARGET { "reached" } else { "not reached" };
        println!("300,000 contacts in {CONTACTS_TARGET} MB of the whole process: {verdict}");
    }
    if !with_kamailio {
        println!(
            "Kamailio is not installed (apt-get install kamailio kamailio-tls-modules kamailio-websocket-modules): ours alone"
        );
    }
}

fn shown(target: Option<f64>) -> String {
    target.map_or_else(|| "-".to_owned(), |target| format!("{target:.2}"))
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
