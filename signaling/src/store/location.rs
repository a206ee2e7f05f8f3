//! Bindings as rows of Kamailio's table `location`, and back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use signaling_core::flow::Protocol;
use signaling_core::message::Uri;
use signaling_core::outside::{BindingRow, SharedText, StoredBinding};

use super::sql::{Kind, Row, Sql, Statement, Value};
use super::tables::in_sizes;

/// The bit of a contact behind a NAT in `cflags`: flag 6, which Kamailio's own configuration calls FLB_NATB.
const NATED: i64 = 1 << 6;
/// Rows read at a time at start (Kamailio's `fetch_rows`).
const FETCH: i64 = 5000;

/// What a row is written from, in this order.
const COLUMNS: [&str; 17] = [
    "username",
    "domain",
    "ruid",
    "contact",
    "received",
    "socket",
    "path",
    "q",
    "callid",
    "cseq",
    "user_agent",
    "instance",
    "reg_id",
    "methods",
    "cflags",
    "expires",
    "last_modified",
];

/// Replaces the rows of every address of record in `batch`. The row of a binding that is there is renewed where it stands: nearly
/// every REGISTER does just that, and a row that goes and comes costs all its indexes twice.
pub(super) fn statements<'a>(
    kind: Kind,
    batch: impl Iterator<Item = (&'a str, &'a [Arc<StoredBinding>])>,
) -> Vec<Statement> {
    let (mut emptied, mut single, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (aor, bindings) in batch {
        let (username, domain) = parts(aor);
        match bindings {
            [one] => single.push(vec![Value::from(username), domain.into(), one.row().ruid.into()]),
            _ => emptied.push(vec![Value::from(username), domain.into()]),
        }
        rows.extend(bindings.iter().map(|binding| values(username, domain, binding)));
    }
    let mut statements = Vec::new();
    for (owners, owner) in
        [(emptied, "(username = ? AND domain = ?)"), (single, "(username = ? AND domain = ? AND ruid <> ?)")]
    {
        in_sizes(owners, |some| {
            let owners = vec![owner; some.len()].join(" OR ");
            let values: Vec<Value> = some.into_iter().flatten().collect();
            statements.push(Statement::new(format!("DELETE FROM location WHERE {owners}"), values));
        });
    }
    in_sizes(rows, |some| statements.push(insert(kind, some)));
    statements
}

/// Renews rows that are there, and nothing of them but when they end and by which request: no index of them changes. (Of SQLite.)
pub(super) fn renewals(kind: Kind, bindings: &[&Arc<StoredBinding>]) -> Vec<Statement> {
    let time = kind.from_unix();
    let [expires, modified] =
        ["column4", "column5"].map(|column| time.replace('?', &format!("renewed.{column}")));
    let mut statements = Vec::new();
    in_sizes(bindings.to_vec(), |some| {
        let rows = vec!["(?, ?, ?, ?, ?)"; some.len()].join(", ");
        let sql = format!(
            "UPDATE location SET callid = renewed.column2, cseq = renewed.column3, expires = {expires}, last_modified = {modified}
             FROM (VALUES {rows}) AS renewed WHERE location.ruid = renewed.column1"
        );
        let values = some.into_iter().flat_map(|binding| {
            let row = binding.row();
            [
                Value::from(row.ruid),
                clean(row.call_id).into(),
                signed(row.cseq).into(),
                seconds(row.expires_at),
                seconds(row.last_modified),
            ]
        });
        statements.push(Statement::new(sql, values.collect::<Vec<_>>()));
    });
    statements
}

/// Every row, oldest first, that is good at `unix_now`, with its address of record; `home` is the domain of those that were
/// written without (Kamailio's `use_domain` 0).
pub(super) async fn read_all(
    sql: &Sql,
    unix_now: u64,
    home: &str,
) -> anyhow::Result<Vec<(String, StoredBinding)>> {
    let kind = sql.kind();
    let query = format!(
        "{} WHERE expires > {} AND id > ? ORDER BY id LIMIT {FETCH}",
        select(kind),
        kind.from_unix(),
    );
    let (now, mut after, mut all) = (i64::try_from(unix_now)?, i64::MIN, Vec::new());
    loop {
        let rows = sql.fetch(Statement::new(query.clone(), [now.into(), after.into()])).await?;
        let Some(last) = rows.last() else { break };
        after = last.int(16)?;
        all.extend(rows.iter().filter_map(|row| read(row, home)));
    }
    all.sort_by_key(|(_, binding): &(_, StoredBinding)| binding.last_modified());
    Ok(all)
}

/// The rows of one address of record that are good at `unix_now`, oldest first.
pub(super) async fn read_one(sql: &Sql, aor: &str, unix_now: i64) -> Result<Vec<StoredBinding>, sqlx::Error> {
    let kind = sql.kind();
    let query = format!(
        "{} WHERE username = ? AND domain = ? AND expires > {} ORDER BY id",
        select(kind),
        kind.from_unix()
    );
    let (username, domain) = parts(aor);
    let values = [username.into(), domain.into(), unix_now.into()];
    let rows = sql.fetch(Statement::new(query, values)).await?;
    let mut all: Vec<_> =
        rows.iter().filter_map(|row| read(row, domain)).map(|(_, binding)| binding).collect();
    all.sort_by_key(StoredBinding::last_modified);
    Ok(all)
}

fn select(kind: Kind) -> String {
    format!(
        "SELECT username, domain, ruid, contact, received, socket, path, q, callid, cseq, user_agent, instance,
                reg_id, methods, {}, {}, id
         FROM location",
        kind.to_unix("expires"),
        kind.to_unix("last_modified"),
    )
}

/// Parts an address of record.
pub(super) fn parts(aor: &str) -> (&str, &str) {
    aor.rsplit_once('@').unwrap_or(("", aor))
}

fn insert(kind: Kind, rows: Vec<Vec<Value>>) -> Statement {
    let columns = COLUMNS.join(", ");
    let time = kind.from_unix();
    let row = format!("({}{time}, {time})", "?, ".repeat(COLUMNS.len() - 2));
    let rows_text = vec![row.as_str(); rows.len()].join(", ");
    let sql = match kind {
        Kind::MySql => format!("REPLACE INTO location ({columns}) VALUES {rows_text}"),
        Kind::Sqlite | Kind::Postgres => {
            let renewed: Vec<String> = COLUMNS
                .iter()
                .filter(|column| **column != "ruid")
                .map(|column| format!("{column} = EXCLUDED.{column}"))
                .collect();
            format!(
                "INSERT INTO location ({columns}) VALUES {rows_text} ON CONFLICT (ruid) DO UPDATE SET {}",
                renewed.join(", ")
            )
        }
    };
    Statement::new(sql, rows.into_iter().flatten().collect::<Vec<_>>())
}

/// The values of [`COLUMNS`].
fn values(username: &str, domain: &str, binding: &StoredBinding) -> Vec<Value> {
    let filled = |text: &str| Value::Text(Some(clean(text)).filter(|text| !text.is_empty()));
    let row = binding.row();
    vec![
        username.into(),
        domain.into(),
        Value::from(row.ruid),
        clean(row.contact).into(),
        binding.received_uri().into(),
        socket(binding).into(),
        filled(row.path),
        (f64::from(row.q) / 1000.0).into(),
        clean(row.call_id).into(),
        signed(row.cseq).into(),
        // The one text that nothing depends on is cut to its column.
        clean(row.user_agent).chars().take(255).collect::<String>().into(),
        filled(row.instance),
        signed(row.reg_id).into(),
        signed(row.methods).into(),
        (if binding.is_nated() { NATED } else { 0 }).into(),
        seconds(row.expires_at),
        seconds(row.last_modified),
    ]
}

fn seconds(at: u64) -> Value {
    i64::try_from(at).unwrap_or(i64::MAX).into()
}

/// PostgreSQL takes no NUL in a text.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// Kamailio's columns have 32 bits with a sign: all methods are -1 there.
fn signed(number: u32) -> i64 {
    number.cast_signed().into()
}

/// Files of earlier versions hold the number itself.
fn unsigned(number: i64) -> anyhow::Result<u32> {
    let signed = i32::try_from(number).map(i32::cast_unsigned);
    signed.or_else(|_| u32::try_from(number)).with_context(|| format!("{number} has more than 32 bits"))
}

/// Kamailio's `socket` column: the transport, and our address in it if it is known.
fn socket(binding: &StoredBinding) -> String {
    let protocol = binding.protocol().via_token().to_ascii_lowercase();
    binding.local().map_or_else(|| protocol.clone(), |local| format!("{protocol}:{local}"))
}

/// A row that another program wrote in a way that is not understood here is left where it is, and out.
fn read(row: &Row, home: &str) -> Option<(String, StoredBinding)> {
    let binding = try_read(row, home);
    if let Err(error) = &binding {
        tracing::warn!(error = format!("{error:#}"), "row of table location not understood");
    }
    binding.ok()
}

fn try_read(row: &Row, home: &str) -> anyhow::Result<(String, StoredBinding)> {
    let contact = row.text(3)?;
    let (socket, received) = (row.text(5)?, row.text(4)?);
    let (protocol, local) = socket.split_once(':').unwrap_or((&socket, ""));
    // Kamailio leaves `received` out where the Contact says the same.
    let received = source(if received.is_empty() { &contact } else { &received })?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        "ws" => Protocol::Ws,
        "wss" => Protocol::Wss,
        "udp" | "" => Protocol::Udp,
        other => anyhow::bail!("transport {other:?}"),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range first")]
    let q = (row.real(7)?.clamp(0.0, 1.0) * 1000.0).round() as u16;
    let (username, domain) = (row.text(0)?, row.text(1)?);
    let domain = if domain.is_empty() { home } else { &domain };
    let local = local.parse().ok().map(Arc::new);
    let binding = StoredBinding::from(BindingRow {
        ruid: &row.text(2)?,
        contact: &contact,
        received,
        protocol,
        local: local.as_ref(),
        path: &row.text(6)?,
        expires_at: row.int(14)?.try_into()?,
        last_modified: row.int(15)?.try_into()?,
        q,
        call_id: &row.text(8)?,
        cseq: unsigned(row.int(9)?)?,
        user_agent: &SharedText::new(row.text(10)?.into()),
        instance: &row.text(11)?,
        reg_id: unsigned(row.int(12)?)?,
        methods: unsigned(row.int(13)?)?,
    });
    Ok((format!("{username}@{domain}"), binding))
}

/// The address in a URI that names one.
fn source(uri: &str) -> anyhow::Result<SocketAddr> {
    let parsed = Uri::parse(uri).ok().and_then(|uri| {
        let ip: IpAddr = uri.host_ip()?;
        Some(SocketAddr::new(ip, uri.port().unwrap_or(5060)))
    });
    parsed.with_context(|| format!("{uri:?} names no address"))
}
