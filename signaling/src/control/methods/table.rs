//! The table of methods: adding one is adding a row.

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use signaling_core::secfilter::Side;

use super::{Args, Method, Outcome, list_methods, method_help, method_signature};
use crate::control::cfg::Kind;
use crate::control::{
    Control, acme, cfg, core, corex, ctl, dispatcher, dlg, dns, health, lists, reload, rtpengine, secfilter,
    statistics, tls, tm, tolls, ul,
};

/// One that only looks.
const fn look(
    name: &'static str,
    params: &'static [&'static str],
    help: &'static str,
    run: for<'a> fn(&'a Control, Args) -> BoxFuture<'a, Outcome>,
) -> Method {
    Method { name, params, help, changes: false, run }
}

/// One that changes something.
const fn change(
    name: &'static str,
    params: &'static [&'static str],
    help: &'static str,
    run: for<'a> fn(&'a Control, Args) -> BoxFuture<'a, Outcome>,
) -> Method {
    Method { name, params, help, changes: true, run }
}

/// An answer that is there at once.
fn now<'a>(outcome: Outcome) -> BoxFuture<'a, Outcome> {
    ready(outcome).boxed()
}

/// All methods, sorted by name.
pub const METHODS: &[Method] = &[
    look(
        "acme.list",
        &[],
        "The certificate from the ACME server, when the server is asked next, and why it has failed the last time. Times are in seconds since 1970.",
        |c, _| now(acme::list(c)),
    ),
    change("acme.renew", &[], "Has the ACME server asked for another certificate at once.", |c, _| {
        now(acme::renew(c))
    }),
    change("cfg.commit", &[], "Changes all that was prepared by cfg.set_delayed, or nothing.", |c, _| {
        Box::pin(cfg::commit(c))
    }),
    look("cfg.diff", &[], "What cfg.commit would change.", |c, _| Box::pin(cfg::diff(c))),
    look(
        "cfg.get",
        &["group", "name?"],
        "The value of a key of the configuration, or of all keys of a section.",
        |c, a| Box::pin(cfg::get(c, a)),
    ),
    look("cfg.help", &["group", "name"], "What a key does, what is allowed, and its default.", |_, a| {
        now(cfg::help(&a))
    }),
    look("cfg.list", &["group?"], "The keys of the configuration, or of a section.", |_, a| {
        now(cfg::list(&a))
    }),
    change("cfg.reset", &["group", "name"], "Has a key be again what the file says.", |c, a| {
        Box::pin(cfg::reset(c, a))
    }),
    change("cfg.rollback", &[], "Forgets what was prepared.", |c, _| Box::pin(cfg::rollback(c))),
    change(
        "cfg.set",
        &["group", "name", "value"],
        "Changes a key of those that causeway reload takes up, until that.",
        |c, a| Box::pin(cfg::set(c, a, Kind::Any)),
    ),
    change(
        "cfg.set_delayed",
        &["group", "name", "value"],
        "Prepares such a change for cfg.commit.",
        |c, a| Box::pin(cfg::prepare(c, a, Kind::Any)),
    ),
    change("cfg.set_delayed_int", &["group", "name", "value"], "The same for a number.", |c, a| {
        Box::pin(cfg::prepare(c, a, Kind::Number))
    }),
    change("cfg.set_delayed_string", &["group", "name", "value"], "The same for text.", |c, a| {
        Box::pin(cfg::prepare(c, a, Kind::Text))
    }),
    change("cfg.set_now_int", &["group", "name", "value"], "As cfg.set, for a number.", |c, a| {
        Box::pin(cfg::set(c, a, Kind::Number))
    }),
    change("cfg.set_now_string", &["group", "name", "value"], "As cfg.set, for text.", |c, a| {
        Box::pin(cfg::set(c, a, Kind::Text))
    }),
    change("cfg.seti", &["group", "name", "value"], "The same as cfg.set_now_int.", |c, a| {
        Box::pin(cfg::set(c, a, Kind::Number))
    }),
    change("cfg.sets", &["group", "name", "value"], "The same as cfg.set_now_string.", |c, a| {
        Box::pin(cfg::set(c, a, Kind::Text))
    }),
    look("cnt.get", &["group", "name"], "The value of a counter.", |c, a| Box::pin(statistics::get(c, a))),
    look(
        "cnt.get_raw",
        &["group", "name"],
        "The same since the start, whenever it was set to zero.",
        |c, a| Box::pin(statistics::get_raw(c, a)),
    ),
    look("cnt.get_vars", &["group"], "The same as cnt.grp_get_all.", |c, a| {
        Box::pin(statistics::group(c, a))
    }),
    look("cnt.grp_get_all", &["group"], "The counters of a group with their values.", |c, a| {
        Box::pin(statistics::group(c, a))
    }),
    look("cnt.grps_list", &[], "The groups of counters.", |c, _| Box::pin(statistics::groups(c))),
    look("cnt.help", &["group", "name"], "Whether a counter counts, or says how much there is.", |c, a| {
        Box::pin(statistics::help(c, a))
    }),
    look("cnt.list_groups", &[], "The same as cnt.grps_list.", |c, _| Box::pin(statistics::groups(c))),
    look("cnt.list_vars", &["group"], "The same as cnt.var_list.", |c, a| Box::pin(statistics::names(c, a))),
    change("cnt.reset", &["group", "name"], "Sets a counter to zero. One of what is there stays.", |c, a| {
        Box::pin(statistics::reset_one(c, a))
    }),
    look("cnt.var_list", &["group"], "The names of the counters of a group.", |c, a| {
        Box::pin(statistics::names(c, a))
    }),
    look("core.aliases_list", &[], "The names that mean this gateway.", |c, _| now(core::aliases_list(c))),
    look("core.arg", &[], "The command line of the process.", |_, _| now(core::arg())),
    change(
        "core.drain",
        &["timeout?", "at_least?"],
        "Takes no new calls (503 with Retry-After, not ready), and stops when the last call has ended: after timeout seconds in any case, after at_least seconds at the earliest.",
        |c, a| Box::pin(health::drain(c, a)),
    ),
    change("core.drain_cancel", &[], "Takes new calls again.", |c, _| Box::pin(health::drain_cancel(c))),
    look("core.echo", &["values*"], "What it is given.", |_, a| now(core::echo(a))),
    look("core.flags", &[], "What of Kamailio's compile flags this program can do.", |_, _| {
        now(core::flags())
    }),
    look(
        "core.health",
        &[],
        "Whether the process lives, whether it is to be given calls, and if not, why; and the calls that it has.",
        |c, _| Box::pin(health::health(c)),
    ),
    look("core.info", &[], "The program.", |_, _| now(core::info())),
    change(
        "core.kill",
        &["signal?"],
        "Ends the gateway (15, the default, or 2), or has it read its tables and its configuration again (1).",
        |_, a| now(core::kill(&a)),
    ),
    look("core.modules", &[], "Kamailio's modules whose work is done here.", |_, _| now(core::modules())),
    look("core.ppdefines", &[], "The switches of kamailio.cfg that the configuration amounts to.", |c, _| {
        now(core::ppdefines(c))
    }),
    look("core.printi", &["numbers*"], "The numbers that it is given.", |_, a| now(core::printi(&a))),
    look("core.prints", &["words*"], "The words that it is given.", |_, a| now(core::prints(&a))),
    look("core.ps", &[], "The threads of the process, each as its number and its name.", |_, _| {
        now(core::ps())
    }),
    look("core.psx", &[], "The same with a name for each field.", |_, _| now(core::psx())),
    look("core.pwd", &[], "The working directory of the process.", |_, _| now(core::pwd())),
    change(
        "core.reload",
        &[],
        "Reads tables and configuration again: which keys count now, and which from the next start on. All or nothing.",
        |c, _| Box::pin(reload::reload(c)),
    ),
    look(
        "core.shmmem",
        &[],
        "Memory in bytes: total and free of the host or its container, used and real_used (resident) and max_used (most resident) of the process.",
        |_, _| now(core::shmmem()),
    ),
    look("core.sockets_list", &[], "The sockets that are listened on.", |c, _| now(core::sockets_list(c))),
    look("core.tcp_info", &[], "Connections in numbers.", |c, _| now(core::tcp_info(c))),
    look("core.tcp_list", &[], "The open connections of SIP.", |c, _| now(core::tcp_list(c))),
    look("core.tcp_options", &[], "What the configuration says of connections.", |c, _| {
        now(core::tcp_options(c))
    }),
    look("core.uptime", &[], "Since when the gateway runs (UTC).", |c, _| now(core::uptime(c))),
    look("core.version", &[], "The name and version of the program.", |_, _| now(core::version())),
    change(
        "corex.debug",
        &["level?"],
        "How much the log says: 3 debug, 2 info, 0 warnings, -1 errors; or changes that.",
        |_, a| now(corex::debug(&a)),
    ),
    look("corex.list_aliases", &[], "The names that mean this gateway.", |c, _| now(corex::list_aliases(c))),
    look("corex.list_sockets", &[], "The sockets that are listened on.", |c, _| now(corex::list_sockets(c))),
    look("corex.pkg_summary", &[], "Has the log say how much memory there is.", |_, _| {
        now(corex::log_memory())
    }),
    look("corex.shm_status", &[], "The same.", |_, _| now(corex::log_memory())),
    look("corex.shm_summary", &[], "The same.", |_, _| now(corex::log_memory())),
    look("ctl.connections", &[], "How many connections the control socket has.", |c, _| {
        now(ctl::connections(c))
    }),
    look("ctl.listen", &[], "The doors of control.", |c, _| now(ctl::listen(c))),
    look("ctl.who", &[], "Who is at the control socket.", |c, _| now(ctl::who(c))),
    change(
        "dispatcher.add",
        &["group", "address", "flags?", "priority?", "attrs?"],
        "Adds a gateway to a set of the table dispatcher, for good.",
        |c, a| Box::pin(dispatcher::add(c, a)),
    ),
    look("dispatcher.list", &[], "The gateways of the table dispatcher, by sets.", |c, _| {
        now(dispatcher::list(c))
    }),
    change(
        "dispatcher.ping_active",
        &["state?"],
        "Has gateways be asked by OPTIONS (1) or not (0); without a parameter it says how it is.",
        |c, a| now(dispatcher::ping_active(c, a)),
    ),
    change("dispatcher.reload", &[], "Reads the table dispatcher again.", |c, _| {
        Box::pin(dispatcher::reload(c))
    }),
    change(
        "dispatcher.remove",
        &["group", "address"],
        "Removes a gateway from the table dispatcher.",
        |c, a| Box::pin(dispatcher::remove(c, a)),
    ),
    change(
        "dispatcher.set_state",
        &["state", "group", "address"],
        "Sets the state of a gateway, or of all of a set (all): a in use, i inactive, d disabled, t trying, with p behind it to be asked.",
        |c, a| now(dispatcher::set_state(c, a)),
    ),
    change(
        "dlg.bridge_dlg",
        &["from", "to", "op?", "body?"],
        "Calls the first and, when he has answered, the second, and joins the two. Where they are is decided as for calls between \
         them; body is what the first is offered while he waits.",
        |c, a| Box::pin(dlg::bridge_dlg(c, a)),
    ),
    look("dlg.briefing", &[], "The calls, briefly.", |c, _| Box::pin(dlg::briefing(c))),
    look("dlg.dlg_list", &["callid", "fromtag?"], "The call with this Call-ID.", |c, a| {
        Box::pin(dlg::dlg_list(c, a))
    }),
    look("dlg.dlg_list_ctx", &["callid", "fromtag?"], "The same.", |c, a| Box::pin(dlg::dlg_list(c, a))),
    change(
        "dlg.end_dlg",
        &["h_entry", "h_id"],
        "Ends the call with these numbers: BYE to both ends, or 487 and CANCEL while it rings.",
        |c, a| Box::pin(dlg::end_dlg(c, a)),
    ),
    look(
        "dlg.is_alive",
        &["callid", "fromtag?", "totag?"],
        "Whether a call is there: its state, or 404.",
        |c, a| Box::pin(dlg::is_alive(c, a)),
    ),
    look("dlg.list", &[], "All calls.", |c, _| Box::pin(dlg::list(c))),
    look("dlg.list_ctx", &[], "The same.", |c, _| Box::pin(dlg::list(c))),
    look(
        "dlg.profile_get_size",
        &["profile", "value?"],
        "Calls counted under all, user, group or gateway.",
        |c, a| now(dlg::profile_get_size(c, a)),
    ),
    look("dlg.profile_list", &["profile", "value?"], "Those calls.", |c, a| {
        Box::pin(dlg::profile_list(c, a))
    }),
    look("dlg.stats_active", &[], "How many calls there are, by how far they have come.", |c, _| {
        Box::pin(dlg::stats_active(c))
    }),
    change(
        "dlg.terminate_dlg",
        &["callid", "fromtag?", "totag?"],
        "Ends the call with this Call-ID: BYE to both ends, or 487 and CANCEL while it rings.",
        |c, a| Box::pin(dlg::terminate_dlg(c, a)),
    ),
    change("dns.delete_all", &[], "Forgets what name servers have said.", |c, _| now(dns::delete_all(c))),
    look("dns.lookup", &["type", "name"], "The records of a name: A, AAAA, SRV or NAPTR.", |c, a| {
        Box::pin(dns::lookup(c, a))
    }),
    change(
        "dst_blacklist.add",
        &["address", "port", "proto?", "seconds?"],
        "The same as dst_blocklist.add.",
        |c, a| now(lists::blocklist_add(c, a)),
    ),
    change("dst_blacklist.delete_all", &[], "The same as dst_blocklist.delete_all.", |c, _| {
        now(lists::blocklist_delete_all(c))
    }),
    look("dst_blacklist.view", &[], "The same as dst_blocklist.view.", |c, _| now(lists::blocklist_view(c))),
    change(
        "dst_blocklist.add",
        &["address", "port", "proto?", "seconds?"],
        "Avoids a destination for a while.",
        |c, a| now(lists::blocklist_add(c, a)),
    ),
    change("dst_blocklist.delete_all", &[], "Avoids no destination any more.", |c, _| {
        now(lists::blocklist_delete_all(c))
    }),
    look("dst_blocklist.view", &[], "The destinations that are avoided for a while.", |c, _| {
        now(lists::blocklist_view(c))
    }),
    change(
        "htable.delete",
        &["table", "key"],
        "Forgives a source that is banned (table ipban), or a user or address with refused passwords (auth_block_list).",
        |c, a| now(lists::delete(c, a)),
    ),
    look(
        "htable.dump",
        &["table"],
        "The sources that are banned (table ipban), or the users and addresses with refused passwords (auth_block_list).",
        |c, a| now(lists::dump(c, a)),
    ),
    change("htable.flush", &["table"], "Forgives all of a table: ipban or auth_block_list.", |c, a| {
        now(lists::flush(c, a))
    }),
    look(
        "htable.get",
        &["table", "key"],
        "A source that is banned (table ipban), or a user or address with refused passwords (auth_block_list).",
        |c, a| now(lists::get(c, a)),
    ),
    look(
        "htable.listTables",
        &[],
        "The tables: ipban, the sources that are not listened to, and auth_block_list, the users and addresses with refused passwords.",
        |c, _| now(lists::tables(c)),
    ),
    change(
        "htable.setex",
        &["table", "address", "seconds"],
        "Bans a source for so long (table ipban).",
        |c, a| now(lists::set_for(c, a)),
    ),
    change(
        "htable.seti",
        &["table", "address", "value?"],
        "Bans a source for pike.ban seconds (table ipban).",
        |c, a| now(lists::set(c, a)),
    ),
    change("htable.sets", &["table", "address", "value?"], "The same.", |c, a| now(lists::set(c, a))),
    look("jsonrpc.echo", &["values*"], "What it is given.", |_, a| now(core::echo(a))),
    look("pike.list", &[], "The sources that have sent requests lately.", |c, _| now(lists::pike(c, false))),
    look("pike.top", &["which?"], "Those that are banned (HOT, the default), or ALL.", |c, a| {
        now(lists::pike_top(c, a))
    }),
    look("pkg.stats", &[], "The memory of the process.", |_, _| now(corex::pkg_stats())),
    change(
        "rtpengine.enable",
        &["url", "enable"],
        "Takes a relay, or all, out of use (0) or back (1).",
        |c, a| Box::pin(rtpengine::enable(c, a)),
    ),
    look("rtpengine.get_hash_total", &[], "Calls at the relays.", |c, _| Box::pin(rtpengine::hash_total(c))),
    look("rtpengine.ping", &["url?"], "Whether the relay answers; all for each of them.", |c, a| {
        Box::pin(rtpengine::ping(c, a))
    }),
    look("rtpengine.show", &["url?"], "The relays that are in use.", |c, a| Box::pin(rtpengine::show(c, a))),
    change(
        "secfilter.add_bl",
        &["type", "value"],
        "Adds to the black list of a type (ua, country, domain, ip, user, dst), for good.",
        |c, a| Box::pin(secfilter::change(c, Side::Black, true, a)),
    ),
    change(
        "secfilter.add_dst",
        &["number"],
        "Adds a destination that is not to be called, for good.",
        |c, a| Box::pin(secfilter::change_destination(c, true, a)),
    ),
    change(
        "secfilter.add_wl",
        &["type", "value"],
        "Adds to the white list of a type (ua, country, domain, ip, user), for good.",
        |c, a| Box::pin(secfilter::change(c, Side::White, true, a)),
    ),
    change("secfilter.del_bl", &["type", "value"], "Removes from a black list.", |c, a| {
        Box::pin(secfilter::change(c, Side::Black, false, a))
    }),
    change("secfilter.del_dst", &["number"], "Removes a destination.", |c, a| {
        Box::pin(secfilter::change_destination(c, false, a))
    }),
    change("secfilter.del_wl", &["type", "value"], "Removes from a white list.", |c, a| {
        Box::pin(secfilter::change(c, Side::White, false, a))
    }),
    look("secfilter.print", &["type?"], "The lists of the table secfilter, or those of a type.", |c, a| {
        now(secfilter::print(c, a))
    }),
    change("secfilter.reload", &[], "Reads the table secfilter and the file of countries again.", |c, _| {
        Box::pin(secfilter::reload(c))
    }),
    look(
        "secfilter.stats",
        &[],
        "What was found on black lists (bl) and white ones (wl), by what was looked up.",
        |c, _| Box::pin(secfilter::stats(c)),
    ),
    change("secfilter.stats_reset", &[], "Sets these to zero.", |c, _| Box::pin(secfilter::stats_reset(c))),
    look(
        "sl.stats",
        &[],
        "The requests that were answered here and not relayed, by the code of the answer.",
        |c, _| Box::pin(tm::sl_stats(c)),
    ),
    change(
        "stats.clear_statistics",
        &["names*"],
        "Sets counters to zero, and says what they were.",
        |c, a| Box::pin(statistics::clear(c, a)),
    ),
    look(
        "stats.fetch",
        &["names*"],
        "Counters by name, GROUP: or all, with their values as text.",
        |c, a| Box::pin(statistics::fetch(c, a, false)),
    ),
    look("stats.fetchn", &["names*"], "The same with their values as numbers.", |c, a| {
        Box::pin(statistics::fetch(c, a, true))
    }),
    look("stats.get_statistics", &["names*"], "Counters by name, GROUP: or all, as lines.", |c, a| {
        Box::pin(statistics::get_statistics(c, a))
    }),
    change(
        "stats.reset_statistics",
        &["names*"],
        "Sets counters to zero. What counts something that is there stays.",
        |c, a| Box::pin(statistics::reset(c, a)),
    ),
    look("system.listMethods", &[], "The methods.", |_, _| now(list_methods())),
    look("system.methodHelp", &["method"], "What a method does.", |_, a| now(method_help(&a))),
    look("system.methodSignature", &["method"], "The parameters of a method.", |_, a| {
        now(method_signature(&a))
    }),
    look("tls.info", &[], "Connections over TLS in numbers.", |c, _| now(tls::info(c))),
    look("tls.list", &[], "The open connections over TLS.", |c, _| now(tls::list(c))),
    look("tls.options", &[], "What the configuration says of TLS.", |c, _| now(tls::options(c))),
    change("tls.reload", &[], "Reads the certificate again.", |c, _| Box::pin(tls::reload(c))),
    change("tm.cancel", &["callid", "cseq"], "Cancels an INVITE that is not answered yet.", |c, a| {
        Box::pin(tm::cancel(c, a))
    }),
    look("tm.list", &[], "The transactions.", |c, _| Box::pin(tm::list(c))),
    change(
        "tm.reply_callid",
        &["code", "reason", "callid", "cseq"],
        "Refuses an INVITE that is not answered yet with this code, 300 or more, and cancels its branches.",
        |c, a| Box::pin(tm::reply_callid(c, a)),
    ),
    look("tm.stats", &[], "Transactions in numbers. One that is relayed counts once.", |c, _| {
        Box::pin(tm::stats(c))
    }),
    change(
        "tm.t_uac_start",
        &["method", "ruri", "nexthop", "socket", "headers", "body?"],
        "Sends a request, by way of nexthop unless that is a dot; without one a user of ours is reached where he is registered. \
         Headers are lines, with From and To among them.",
        |c, a| Box::pin(tm::t_uac_start(c, a)),
    ),
    change(
        "tm.t_uac_wait",
        &["method", "ruri", "nexthop", "socket", "headers", "body?"],
        "The same, and says what was answered: code, phrase, of a 2xx Contact, next hop and Route, and the headers.",
        |c, a| Box::pin(tm::t_uac_wait(c, a)),
    ),
    look(
        "tolls.list",
        &["value?"],
        "What users and gateways have spent of the day, with what they may; or what one of them has.",
        |c, a| now(tolls::list(c, a)),
    ),
    change(
        "tolls.reset",
        &["value"],
        "Forgets what a user or a gateway has spent of the day; all for each of them.",
        |c, a| now(tolls::reset(c, a)),
    ),
    change(
        "ul.add",
        &["table", "aor", "contact", "expires", "q", "path?", "flags?", "cflags?", "methods?"],
        "Registers a contact.",
        |c, a| Box::pin(ul::add(c, a)),
    ),
    look("ul.db_contacts", &["table"], "Contacts in the database.", |c, a| Box::pin(ul::db_contacts(c, a))),
    look("ul.db_expired_contacts", &["table"], "Those of them that have run out.", |c, a| {
        Box::pin(ul::db_expired_contacts(c, a))
    }),
    look("ul.db_users", &["table"], "Users with a contact in the database.", |c, a| {
        Box::pin(ul::db_users(c, a))
    }),
    look("ul.dump", &["brief?"], "All registrations; with brief only the addresses of record.", |c, a| {
        now(ul::dump(c, a))
    }),
    change("ul.flush", &[], "Waits until what has changed is in the database.", |c, _| {
        Box::pin(ul::flush(c))
    }),
    look("ul.lookup", &["table", "aor"], "The contacts of an address of record.", |c, a| {
        now(ul::lookup(c, a))
    }),
    change("ul.rm", &["table", "aor"], "Removes the contacts of an address of record.", |c, a| {
        Box::pin(ul::rm(c, a))
    }),
    change("ul.rm_contact", &["table", "aor", "contact"], "Removes one of them.", |c, a| {
        Box::pin(ul::rm_contact(c, a))
    }),
];

/// Methods of Kamailio's that would have nothing true to say here, with the reason. A dot at the end stands for all that begin so.
pub const ABSENT: &[(&str, &str)] = &[
    ("cfg.add_group_inst", "a section has no instances"),
    ("cfg.del", "a section has no instances; see cfg.reset"),
    ("cfg.del_delayed", "a section has no instances; see cfg.reset"),
    ("cfg.del_group_inst", "a section has no instances"),
    ("core.udp4_raw_info", "nothing is sent by raw sockets"),
    (
        "dns.",
        "the cache holds what name servers say, and cannot be looked into; see dns.lookup and dns.delete_all",
    ),
    ("dst_blacklist.", "see dst_blocklist.view"),
    ("dst_blocklist.", "see dst_blocklist.view"),
    ("mod.stats", "modules have no memory of their own; see core.shmmem"),
    ("pv.", "there is no script that had such variables"),
    ("rtpengine.reload", "relays are those of media.relay"),
    ("tm.clean", "a transaction is freed when it ends"),
    ("tm.hash_stats", "a worker has a table of its own; see tm.stats"),
    ("tm.reply", "the numbers of a transaction are those of its worker; see tm.reply_callid"),
];
