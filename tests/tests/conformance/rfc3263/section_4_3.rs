//! RFC 3263 §4.3: Details of RFC 2782 process: what fails is followed by the next server.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::baresip::Account;
use e2e::dns::{NameServer, Record};
use e2e::gateway::{Gateway, host_address};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::wire::Wire;
use tokio::net::TcpListener;

/// A server that answers one request on one connection.
async fn serve(listener: &TcpListener, far: &mut Phone, status: u16) -> Result<Message> {
    let mut wire = Wire::accept(listener).await?;
    let request = wire.receive().await?;
    wire.send(far.response(&request, status, "As you wish", "far").to_string()).await?;
    Ok(request)
}

/// Two servers of `far.test`, of which the first is `first`; a message to there arrives at the second one, in a transaction of
/// its own.
async fn goes_on_to_the_second(first: Option<TcpListener>, closed: u16) -> Result<()> {
    let second = TcpListener::bind((host_address(), 0)).await?;
    let port =
        first.as_ref().map_or(Ok(closed), |listener| listener.local_addr().map(|address| address.port()))?;
    let names = NameServer::start(&[
        ("_sip._tcp.far.test", Record::Srv(1, 1, port, "host.far.test")),
        ("_sip._tcp.far.test", Record::Srv(2, 1, second.local_addr()?.port(), "host.far.test")),
        ("host.far.test", Record::Address(host_address())),
    ])
    .await?;
    let gateway = Gateway::start_with(&names.section()).await?;
    let mut alice = Phone::new(gateway.account("alice", "over-there-4")?, gateway.proxy()).await?;
    let nobody = Account { user: "x".into(), password: String::new(), domain: "far.test".into() };
    let mut far = Phone::new(nobody, SocketAddr::new(host_address(), 9)).await?;
    let message = alice.request("MESSAGE", "sip:x@far.test;transport=tcp", "sip:x@far.test");
    let (answer, branches) = tokio::join!(alice.transact(message), async {
        let mut branches = Vec::new();
        if let Some(first) = &first {
            branches.push(serve(first, &mut far, 503).await?);
        }
        branches.push(serve(&second, &mut far, 200).await?);
        anyhow::Ok(branches)
    });
    ensure!(answer?.status() == Some(200));
    let branches: Vec<_> =
        branches?.iter().map(|request| request.parameter("Via", "branch").map(str::to_owned)).collect();
    assert!(branches.windows(2).all(|two| two[0] != two[1]), "a branch of its own each: {branches:?}");
    Ok(())
}

/// A transport failure: nobody listens at the first server's port.
#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over() -> Result<()> {
    let closed = TcpListener::bind((host_address(), 0)).await?.local_addr()?.port();
    goes_on_to_the_second(None, closed).await
}

/// 503 from the first server.
#[tokio::test]
async fn a_server_without_time_is_passed_over() -> Result<()> {
    goes_on_to_the_second(Some(TcpListener::bind((host_address(), 0)).await?), 0).await
}
