//! What keeping costs: records of calls, accounts and registrations in the database of the default configuration, beside the same
//! work without it. Ours alone.

use std::net::UdpSocket;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use causeway::store::sql::Statement;
use causeway::store::{Database, DbMode, Storage};
use signaling_core::outside::Account;

use crate::calls::{self, Caller};
use crate::load::{self, PASSWORD, Pace, field, proof, receive, request};
use crate::median;
use crate::phones;
use crate::server::{Keeping, Server};

/// Calls of one figure.
const CALLS: u32 = 4000;
/// Accounts, each with a phone of its own.
const USERS: u32 = 10_000;
/// How often a REGISTER is sent at most.
const TRIES: u32 = 5;
/// What is written behind is written by then.
const SETTLED: Duration = Duration::from_secs(3);
/// Registrations at the start that is timed, and the seconds that it may take.
const CONTACTS: u32 = 300_000;
const START: f64 = 5.0;

const CALL: [&str; 2] = ["call UDP to UDP, acc.db = false", "call UDP to UDP, acc.db = true"];
const REGISTER: [&str; 4] = [
    "REGISTER with digest, db_mode = 0",
    "the same, accounts have changed",
    "REGISTER with digest, db_mode = 2",
    "REGISTER with digest, db_mode = 1",
];

/// Medians of `rounds` rounds, and how long a start takes.
pub(crate) fn measure(rounds: usize) -> Result<()> {
    let mut calls = [Vec::new(), Vec::new()];
    let mut registers = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        for (records, figures) in [false, true].into_iter().zip(&mut calls) {
            figures.push(call(records)?);
        }
        for ((db_mode, changed), figures) in
            [(0, false), (0, true), (2, false), (1, false)].into_iter().zip(&mut registers)
        {
            figures.push(register(db_mode, changed)?);
        }
    }
    let start = start()?;
    println!("\nMedians of {rounds} rounds; CPU us, and what it is of the first of its kind");
    for (names, figures, target) in [(&CALL[..], &calls[..], 1.15), (&REGISTER, &registers, 1.10)] {
        let first = median(&figures[0]);
        for (index, (name, figures)) in names.iter().zip(figures).enumerate() {
            let (figure, ratio) = (median(figures), median(figures) / first);
            let verdict = match index {
                0 => String::new(),
                // Before the phone hears 200: a promise costs what it costs.
                3 => "no target".to_owned(),
                _ => format!("target {target:.2}: {}", reached(ratio <= target)),
            };
            println!("{name:<38}{figure:>10.1}{ratio:>8.2}  {verdict}");
        }
    }
    println!(
        "start with {CONTACTS} contacts, s{start:>18.1}  target {START:.1}: {}",
        reached(start <= START)
    );
    Ok(())
}

const fn reached(reached: bool) -> &'static str {
    if reached { "reached" } else { "not reached" }
}

fn call(records: bool) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let server = Server::keeping(folder.path(), &Keeping { records, db_mode: 0, digest: false })?;
    let callee = calls::callee(server.open)?;
    let mut phone = Caller::phone(server.open)?;
    calls::calls(&mut phone, &callee, 0..100)?;
    sleep(SETTLED);
    server.cpu_per_operation(CALLS, || {
        calls::calls(&mut phone, &callee, 100..100 + CALLS)?;
        sleep(SETTLED);
        Ok(())
    })
}

/// The refreshing of registrations, which is what nearly every REGISTER does. `changed`: some account has changed since, so that each
/// is read from the database again.
fn register(db_mode: u8, changed: bool) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    accounts(folder.path())?;
    let server = Server::keeping(folder.path(), &Keeping { records: false, db_mode, digest: true })?;
    let socket = UdpSocket::bind(("127.0.0.72", 0))?;
    refresh(&socket, &server, 0)?;
    sleep(SETTLED);
    let storage = Storage::file(&Keeping::database(folder.path())?, DbMode::Memory);
    server.cpu_per_operation(USERS, || {
        if changed {
            storage.tell_of_change()?;
        }
        refresh(&socket, &server, 1)?;
        sleep(SETTLED);
        Ok(())
    })
}

fn name(number: u32) -> String {
    format!("u{number:06}")
}

/// Makes the accounts in the file of a gateway that has not run yet.
fn accounts(folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = Database::open(&Keeping::database(folder)?, DbMode::Memory).await?;
        let rows = (0..USERS).map(|number| {
            let account = Account::of_password(&name(number), "bench.test", PASSWORD);
            let text = "INSERT INTO subscriber (username, domain, ha1) VALUES (?, ?, ?)";
            Statement::new(text, [account.username.into(), account.domain.into(), account.ha1.into()])
        });
        database.sql().transact(rows.collect()).await?;
        database.close().await;
        Ok(())
    })
}

/// A REGISTER of everybody, with the challenge that comes before; `turn` counts the times. What is lost or refused on a busy machine
/// is sent again: of few, or the figure means nothing.
fn refresh(socket: &UdpSocket, server: &Server, turn: u32) -> Result<()> {
    let (mut missing, mut again): (Vec<u32>, usize) = ((0..USERS).collect(), 0);
    for attempt in 0..TRIES {
        missing = refresh_once(socket, server, missing, 2 * (turn * TRIES + attempt) + 1)?;
        again += missing.len();
        if missing.is_empty() {
            ensure!(again * 20 <= USERS as usize, "{again} of {USERS} REGISTER had to be sent again");
            return Ok(());
        }
        sleep(Duration::from_secs(1));
    }
    bail!("{} of {USERS} REGISTER without a 200", missing.len())
}

/// The same once, of those in `wanted`, which are in order; those that have no 200.
fn refresh_once(socket: &UdpSocket, server: &Server, wanted: Vec<u32>, cseq: u32) -> Result<Vec<u32>> {
    let local = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_micros(200)))?;
    let text = |number: u32, cseq: u32, more: &str| {
        let name = name(number);
        let (to, via) = (format!("<sip:{name}@bench.test>"), format!("UDP {local}"));
        let more = format!(
            "Contact: <sip:{name}@{local}>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{number:012x}>\"\r\n\
             Expires: 600\r\n{more}"
        );
        request("REGISTER", "sip:bench.test", &via, &format!("k{number}"), &name, &to, cseq, &more, "")
    };
    let (mut pace, mut buffer) = (Pace::new(u32::try_from(wanted.len())?, load::REGISTERS), vec![0; 65_535]);
    let (mut there, mut heard) = (vec![false; wanted.len()], 0);
    while heard < wanted.len() && !pace.is_over() {
        while let Some(next) = pace.begin() {
            socket.send_to(text(wanted[next as usize], cseq, "").as_bytes(), server.open)?;
        }
        let Some((answer, _)) = receive(socket, &mut buffer) else { continue };
        pace.heard();
        let number: u32 = field(&answer, "Call-ID").trim_start_matches('k').parse()?;
        let sent: u32 = field(&answer, "CSeq").trim_end_matches(" REGISTER").parse()?;
        // One of an earlier attempt may come late.
        let Some(place) = wanted.binary_search(&number).ok().filter(|_| sent >= cseq) else { continue };
        match answer.get(8..11) {
            Some("200") => {
                there[place] = true;
                heard += 1;
            }
            Some("401") => {
                let challenge = field(&answer, "WWW-Authenticate");
                let proof = proof(challenge, &name(number), "REGISTER", "sip:bench.test");
                let proved = text(number, cseq + 1, &format!("Authorization: {proof}\r\n"));
                socket.send_to(proved.as_bytes(), server.open)?;
            }
            // A server that has no time now is asked again.
            Some("503") => heard += 1,
            _ => bail!("REGISTER answered by {}", answer.lines().next().unwrap_or_default()),
        }
    }
    Ok(wanted.into_iter().zip(there).filter(|(_, there)| !there).map(|(number, _)| number).collect())
}

/// Seconds from the start of the process to its first answer, with many registrations in its database.
fn start() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let keeping = Keeping { records: true, db_mode: 2, digest: false };
    let server = Server::keeping(folder.path(), &keeping)?;
    phones::register(server.open, CONTACTS)?;
    drop(server);
    let started = Instant::now();
    let _server = Server::keeping(folder.path(), &keeping)?;
    Ok(started.elapsed().as_secs_f64())
}
