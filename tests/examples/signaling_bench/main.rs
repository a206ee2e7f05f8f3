//! What signalling costs: CPU of the server per operation and memory per connection, ours beside Kamailio's where that is
//! installed, in turns on the same machine. `make bench-signaling` runs it; nothing here is a test, for times are the
//! machine's.
//!
//! Both keep registrations in memory, relay no media and log warnings only. Arguments: the number of rounds.

#![allow(clippy::print_stdout, reason = "its output is the result")]

mod load;
mod server;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::server::{Kind, Server};

/// The operations: name, and how much of Kamailio's cost ours may be.
const ROWS: [(&str, f64); 5] = [
    ("REGISTER, CPU us", 0.7),
    ("REGISTER with digest, CPU us", 0.7),
    ("call UDP to UDP, CPU us", 0.6),
    ("WSS connect, CPU us", 0.4),
    ("idle registered WSS connection, KiB", 0.25),
];

type Figures = BTreeMap<(&'static str, Kind), Vec<f64>>;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(3), |rounds| rounds.parse::<usize>())?;
    let with_kamailio = server::kamailio().is_some();
    let kinds = if with_kamailio { vec![Kind::Causeway, Kind::Kamailio] } else { vec![Kind::Causeway] };
    let mut figures = Figures::new();
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        for kind in &kinds {
            measure(*kind, &mut figures)?;
        }
    }
    print_table(&figures, rounds, with_kamailio);
    Ok(())
}

fn measure(kind: Kind, figures: &mut Figures) -> Result<()> {
    let server = Server::start(kind)?;
    let mut note = |row: usize, figure: f64| figures.entry((ROWS[row].0, kind)).or_default().push(figure);
    // First, before there are transactions whose timers cost something later.
    load::register(server.open, false, 500)?;
    // The first connections bring what is kept for the next.
    drop(load::connect(server.wss, 100)?);
    let before = server.memory_kib();
    let mut held = Vec::new();
    let connecting = || {
        held = load::connect(server.wss, 400)?;
        Ok(())
    };
    note(3, server.cpu_per_operation(400, connecting)?);
    load::register_browsers(&mut held)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    note(4, (server.memory_kib() - before) / 400.0);
    drop(held);
    std::thread::sleep(std::time::Duration::from_secs(1));
    note(0, server.cpu_per_operation(4000, || load::register(server.open, false, 4000))?);
    note(1, server.cpu_per_operation(2000, || load::register(server.digest, true, 2000))?);
    let callee = load::callee(server.open)?;
    note(2, server.cpu_per_operation(2000, || load::calls(server.open, &callee, 2000))?);
    Ok(())
}

fn print_table(figures: &Figures, rounds: usize, with_kamailio: bool) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "\nMedians of {rounds} rounds on {cpus} processors; REGISTER and calls at 2000 and 500 a second"
    );
    println!("{:<38}{:>10}{:>10}{:>8}{:>8}", "", "Causeway", "Kamailio", "ratio", "target");
    for (name, target) in ROWS {
        let of = |kind| figures.get(&(name, kind)).map(|all| median(all));
        let Some(ours) = of(Kind::Causeway) else { continue };
        match of(Kind::Kamailio) {
            Some(theirs) => {
                let ratio = ours / theirs;
                let verdict = if ratio <= target { "reached" } else { "not reached" };
                println!("{name:<38}{ours:>10.1}{theirs:>10.1}{ratio:>8.2}{target:>8.2}  {verdict}");
            }
            None => println!("{name:<38}{ours:>10.1}{:>10}{:>8}{target:>8.2}", "-", "-"),
        }
    }
    if !with_kamailio {
        println!(
            "Kamailio is not installed (apt-get install kamailio kamailio-tls-modules kamailio-websocket-modules): ours alone"
        );
    }
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
