//! One certificate: account, order, proof, key, chain (RFC 8555 §7).

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};

use super::client::Client;
use super::files::Files;
use crate::certs::{Challenges, Issued};
use crate::config::{self, Challenge};

/// A server may take its time to look, and to sign.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Gets a certificate and keeps it in the files.
///
/// # Errors
/// What the server, or the way there, has against it.
pub(super) async fn obtain(
    settings: &config::Acme,
    files: &Files,
    client: &Client,
    challenges: &Challenges,
) -> anyhow::Result<Issued> {
    let account = account(settings, files, client).await?;
    let names: Vec<Identifier> = settings.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&names)).await {
        Ok(order) => order,
        Err(error) => {
            if is(&error, "accountDoesNotExist") {
                // The next try makes another one.
                files.forget_account()?;
            }
            return Err(anyhow!(error).context("order"));
        }
    };
    let proved = prove(&mut order, settings.challenge, challenges).await;
    challenges.clear();
    proved?;
    let key = order.finalize().await.context("order")?;
    let chain = order.poll_certificate(&POLL).await.context("certificate")?;
    let pem = key + &chain;
    let issued = Issued::from_pem(pem.as_bytes()).context("what the server has issued")?;
    if let Some(missing) = settings.domains.iter().find(|name| !issued.is_for(name)) {
        bail!("the server has issued a certificate without {missing}");
    }
    files.keep_certificate(&pem)?;
    Ok(issued)
}

/// The account that there is, or one that is made now.
async fn account(settings: &config::Acme, files: &Files, client: &Client) -> anyhow::Result<Account> {
    let builder = Account::builder_with_http(Box::new(client.clone()));
    if let Some(kept) = files.account(&settings.directory)? {
        return builder.from_credentials(kept).await.context("directory");
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let binding = settings.eab_kid.clone().zip(settings.eab_hmac_key.as_ref());
    let binding = binding.map(|(kid, key)| ExternalAccountKey::new(kid, key.expose()));
    let made = builder.create(&wanted, settings.directory.clone(), binding.as_ref()).await;
    let (account, credentials) = made.context("account")?;
    files.keep_account(&credentials)?;
    tracing::info!(server = settings.directory, account = account.id(), "account made at the ACME server");
    Ok(account)
}

/// Shows the server that each name is ours.
async fn prove(order: &mut Order, challenge: Challenge, challenges: &Challenges) -> anyhow::Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.context("authorization")?;
        if authorization.status != AuthorizationStatus::Valid {
            answer(authorization, challenge, challenges).await?;
        }
    }
    match order.poll_ready(&POLL).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(refused(order).await.unwrap_or_else(|| anyhow!("the server has refused the order"))),
        Err(error) => Err(refused(order).await.unwrap_or_else(|| anyhow!(error).context("order"))),
    }
}

/// Prepares the proof of one name, and has the server look.
async fn answer(
    mut authorization: AuthorizationHandle<'_>,
    challenge: Challenge,
    challenges: &Challenges,
) -> anyhow::Result<()> {
    let name = authorization.identifier().to_string();
    let (kind, word) = match challenge {
        Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        Challenge::Http01 => (ChallengeType::Http01, "http-01"),
    };
    let offered = authorization.challenge(kind);
    let mut offered = offered.with_context(|| format!("{name}: the server does not offer {word}"))?;
    let proof = offered.key_authorization();
    match challenge {
        Challenge::TlsAlpn01 => challenges.show_tls(&name, proof.digest().as_ref())?,
        Challenge::Http01 => challenges.show_http(offered.token.clone(), proof.as_str().to_owned()),
    }
    offered.set_ready().await.with_context(|| name)
}

/// What the server has found at the names that it did not believe.
async fn refused(order: &mut Order) -> Option<anyhow::Error> {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        authorization.refresh().await.ok()?;
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        found.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    (!found.is_empty()).then(|| anyhow!("not proved: {}", found.join("; ")))
}

fn is(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().and_then(|of| of.rsplit(':').next()) == Some(kind)
}
