//! All tables, each written once.

use super::{Column, Holds, Index, Table};

const fn column(name: &'static str, holds: Holds, default: &'static str) -> Column {
    Column { name, holds, default: Some(default), null: false }
}

const fn text(name: &'static str, length: u16) -> Column {
    column(name, Holds::Text(length), "''")
}

const fn int(name: &'static str) -> Column {
    column(name, Holds::Int, "0")
}

const fn time(name: &'static str) -> Column {
    column(name, Holds::Time, "'2000-01-01 00:00:01'")
}

/// Must be given.
const fn given(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, default: None, null: false }
}

/// May be absent.
const fn maybe(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, default: Some("NULL"), null: true }
}

const fn index(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: false, only_kamailio: false }
}

const fn unique(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: true, only_kamailio: false }
}

const fn foreign(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns, unique: false, only_kamailio: true }
}

/// The columns that the articles add to `acc` and `missed_calls`, and that `db_extra` fills.
const SEEN: &[Column] = &[
    text("src_user", 64),
    text("src_domain", 128),
    text("src_ip", 64),
    text("dst_ouser", 64),
    text("dst_user", 64),
    text("dst_domain", 128),
];

const TRANSACTION: &[Column] = &[
    text("method", 16),
    text("from_tag", 128),
    text("to_tag", 128),
    text("callid", 255),
    text("sip_code", 3),
    text("sip_reason", 128),
    given("time", Holds::Time),
];

/// All tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "version",
        version: 1,
        columns: &[given("table_name", Holds::Text(32)), column("table_version", Holds::Unsigned, "0")],
        added: &[],
        indexes: &[unique("table_name_idx", &["table_name"])],
    },
    Table {
        name: "subscriber",
        version: 7,
        columns: &[
            text("username", 64),
            text("domain", 64),
            text("password", 64),
            text("ha1", 128),
            text("ha1b", 128),
        ],
        added: &[text("ha1_sha256", 128), text("ha1_sha512_256", 128)],
        indexes: &[unique("account_idx", &["username", "domain"]), foreign("username_idx", &["username"])],
    },
    Table {
        name: "location",
        version: 9,
        columns: &[
            text("ruid", 64),
            text("username", 64),
            maybe("domain", Holds::Text(64)),
            text("contact", 512),
            maybe("received", Holds::Text(128)),
            maybe("path", Holds::Text(512)),
            column("expires", Holds::Time, "'2030-05-28 21:32:15'"),
            column("q", Holds::Real(2), "1.0"),
            column("callid", Holds::Text(255), "'Default-Call-ID'"),
            column("cseq", Holds::Int, "1"),
            time("last_modified"),
            int("flags"),
            int("cflags"),
            text("user_agent", 255),
            maybe("socket", Holds::Text(64)),
            maybe("methods", Holds::Int),
            maybe("instance", Holds::Text(255)),
            int("reg_id"),
            int("server_id"),
            int("connection_id"),
            int("keepalive"),
            int("partition"),
        ],
        added: &[],
        indexes: &[
            unique("ruid_idx", &["ruid"]),
            index("account_contact_idx", &["username", "domain", "contact"]),
            foreign("expires_idx", &["expires"]),
            foreign("tcpcon_idx", &["connection_id"]),
            foreign("connection_idx", &["server_id", "connection_id"]),
        ],
    },
    Table {
        name: "location_attrs",
        version: 1,
        columns: &[
            text("ruid", 64),
            text("username", 64),
            maybe("domain", Holds::Text(64)),
            text("aname", 64),
            int("atype"),
            text("avalue", 512),
            time("last_modified"),
        ],
        added: &[],
        indexes: &[
            foreign("account_record_idx", &["username", "domain", "ruid"]),
            foreign("last_modified_idx", &["last_modified"]),
        ],
    },
    Table {
        name: "acc",
        version: 5,
        columns: TRANSACTION,
        added: SEEN,
        indexes: &[index("callid_idx", &["callid"])],
    },
    Table {
        name: "missed_calls",
        version: 4,
        columns: TRANSACTION,
        added: SEEN,
        indexes: &[index("callid_idx", &["callid"])],
    },
    Table {
        name: "acc_cdrs",
        version: 2,
        columns: &[
            column("start_time", Holds::Time, "'2000-01-01 00:00:00'"),
            column("end_time", Holds::Time, "'2000-01-01 00:00:00'"),
            column("duration", Holds::Real(3), "0"),
        ],
        added: &[
            text("callid", 255),
            text("from_tag", 128),
            text("to_tag", 128),
            text("src_user", 64),
            text("src_domain", 128),
            text("src_ip", 64),
            text("dst_ouser", 64),
            text("dst_user", 64),
            text("dst_domain", 128),
            text("dst_ip", 64),
            maybe("answer_time", Holds::Time),
            text("sip_code", 3),
            text("sip_reason", 128),
            text("cause", 64),
            text("src_codec", 64),
            text("dst_codec", 64),
            maybe("src_bytes", Holds::Long),
            maybe("dst_bytes", Holds::Long),
            maybe("src_loss", Holds::Real(3)),
            maybe("dst_loss", Holds::Real(3)),
            maybe("src_jitter", Holds::Real(3)),
            maybe("dst_jitter", Holds::Real(3)),
            maybe("src_mos", Holds::Real(2)),
            maybe("dst_mos", Holds::Real(2)),
        ],
        indexes: &[index("start_time_idx", &["start_time"])],
    },
    Table {
        name: "dbaliases",
        version: 1,
        columns: &[
            text("alias_username", 64),
            text("alias_domain", 64),
            text("username", 64),
            text("domain", 64),
        ],
        added: &[],
        indexes: &[
            index("alias_user_idx", &["alias_username"]),
            index("alias_idx", &["alias_username", "alias_domain"]),
            index("target_idx", &["username", "domain"]),
        ],
    },
    Table {
        name: "speed_dial",
        version: 2,
        columns: &[
            text("username", 64),
            text("domain", 64),
            text("sd_username", 64),
            text("sd_domain", 64),
            text("new_uri", 255),
            text("fname", 64),
            text("lname", 64),
            text("description", 64),
        ],
        added: &[],
        indexes: &[unique("speed_dial_idx", &["username", "domain", "sd_domain", "sd_username"])],
    },
    Table {
        name: "domain",
        version: 2,
        columns: &[given("domain", Holds::Text(64)), maybe("did", Holds::Text(64)), time("last_modified")],
        added: &[],
        indexes: &[unique("domain_idx", &["domain"])],
    },
    Table {
        name: "domain_attrs",
        version: 1,
        columns: &[
            given("did", Holds::Text(64)),
            given("name", Holds::Text(32)),
            given("type", Holds::Unsigned),
            given("value", Holds::Text(255)),
            time("last_modified"),
        ],
        added: &[],
        indexes: &[index("domain_attrs_idx", &["did", "name"])],
    },
    Table {
        name: "trusted",
        version: 6,
        columns: &[
            given("src_ip", Holds::Text(50)),
            given("proto", Holds::Text(4)),
            maybe("from_pattern", Holds::Text(64)),
            maybe("ruri_pattern", Holds::Text(64)),
            maybe("tag", Holds::Text(64)),
            int("priority"),
        ],
        added: &[],
        indexes: &[index("peer_idx", &["src_ip"])],
    },
    Table {
        name: "address",
        version: 6,
        columns: &[
            column("grp", Holds::Unsigned, "1"),
            given("ip_addr", Holds::Text(50)),
            column("mask", Holds::Int, "32"),
            column("port", Holds::Port, "0"),
            maybe("tag", Holds::Text(64)),
        ],
        added: &[],
        indexes: &[],
    },
    Table {
        name: "grp",
        version: 2,
        columns: &[text("username", 64), text("domain", 64), text("grp", 64), time("last_modified")],
        added: &[],
        indexes: &[unique("account_group_idx", &["username", "domain", "grp"])],
    },
    Table {
        name: "dispatcher",
        version: 4,
        columns: &[
            int("setid"),
            text("destination", 192),
            int("flags"),
            int("priority"),
            text("attrs", 128),
            text("description", 64),
        ],
        added: &[],
        indexes: &[],
    },
    Table {
        name: "secfilter",
        version: 1,
        columns: &[column("action", Holds::Small, "0"), column("type", Holds::Small, "0"), text("data", 64)],
        added: &[],
        indexes: &[index("secfilter_idx", &["action", "type", "data"])],
    },
    Table {
        name: "dialog",
        version: 7,
        columns: &[
            given("hash_entry", Holds::Unsigned),
            given("hash_id", Holds::Unsigned),
            given("callid", Holds::Text(255)),
            given("from_uri", Holds::Text(255)),
            given("from_tag", Holds::Text(128)),
            given("to_uri", Holds::Text(255)),
            given("to_tag", Holds::Text(128)),
            given("caller_cseq", Holds::Text(20)),
            given("callee_cseq", Holds::Text(20)),
            maybe("caller_route_set", Holds::Text(512)),
            maybe("callee_route_set", Holds::Text(512)),
            given("caller_contact", Holds::Text(255)),
            given("callee_contact", Holds::Text(255)),
            given("caller_sock", Holds::Text(64)),
            given("callee_sock", Holds::Text(64)),
            given("state", Holds::Unsigned),
            given("start_time", Holds::Unsigned),
            column("timeout", Holds::Unsigned, "0"),
            column("sflags", Holds::Unsigned, "0"),
            column("iflags", Holds::Unsigned, "0"),
            maybe("toroute_name", Holds::Text(32)),
            given("req_uri", Holds::Text(255)),
            maybe("xdata", Holds::Text(512)),
        ],
        added: &[],
        indexes: &[index("hash_idx", &["hash_entry", "hash_id"])],
    },
    Table {
        name: "topos_d",
        version: 2,
        columns: &[
            given("rectime", Holds::Time),
            text("x_context", 64),
            text("s_method", 64),
            text("s_cseq", 64),
            text("a_callid", 255),
            text("a_uuid", 255),
            text("b_uuid", 255),
            text("a_contact", 512),
            text("b_contact", 512),
            text("as_contact", 512),
            text("bs_contact", 512),
            text("a_tag", 255),
            text("b_tag", 255),
            Column { default: None, ..maybe("a_rr", Holds::Note) },
            Column { default: None, ..maybe("b_rr", Holds::Note) },
            Column { default: None, ..maybe("s_rr", Holds::Note) },
            column("iflags", Holds::Unsigned, "0"),
            text("a_uri", 255),
            text("b_uri", 255),
            text("r_uri", 255),
            text("a_srcaddr", 128),
            text("b_srcaddr", 128),
            text("a_socket", 128),
            text("b_socket", 128),
        ],
        added: &[],
        indexes: &[
            foreign("rectime_idx", &["rectime"]),
            foreign("a_callid_idx", &["a_callid"]),
            index("a_uuid_idx", &["a_uuid"]),
            foreign("b_uuid_idx", &["b_uuid"]),
        ],
    },
    Table {
        name: "dialog_vars",
        version: 1,
        columns: &[
            given("hash_entry", Holds::Unsigned),
            given("hash_id", Holds::Unsigned),
            given("dialog_key", Holds::Text(128)),
            given("dialog_value", Holds::Text(512)),
        ],
        added: &[],
        indexes: &[index("hash_idx", &["hash_entry", "hash_id"])],
    },
    // Who has signed in without an account; Kamailio has nothing of the kind.
    Table {
        name: "causeway_users",
        version: 0,
        columns: &[text("username", 128), text("domain", 128)],
        added: &[],
        indexes: &[index("account_idx", &["username", "domain"])],
    },
];
