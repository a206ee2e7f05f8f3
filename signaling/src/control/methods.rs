//! The table of methods. Help, listing, the check of parameters and the dispatch follow from it; adding a method is adding a row.

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde_json::{Value, json};

use super::jsonrpc::{Answer, Call, Fault, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Params};
use super::{Control, core, dispatcher, dlg, lists, rtpengine, statistics, tls, tm, ul};

/// What a method says.
pub type Outcome = Result<Answer, Fault>;

/// A method.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// The names of its parameters in order. `NAME?` may be left out, as may all after it; `NAME*` is any number of them.
    pub params: &'static [&'static str],
    /// What it does, in a sentence or two.
    pub help: &'static str,
    /// Whether it changes anything: then the log says who has called it.
    pub changes: bool,
    run: for<'a> fn(&'a Control, Args) -> BoxFuture<'a, Outcome>,
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Method").field("name", &self.name).finish_non_exhaustive()
    }
}

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
    look("cnt.get", &["group", "name"], "The value of a counter.", |c, a| Box::pin(statistics::get(c, a))),
    look("cnt.grp_get_all", &["group"], "The counters of a group with their values.", |c, a| {
        Box::pin(statistics::group(c, a))
    }),
    look("cnt.grps_list", &[], "The groups of counters.", |c, _| Box::pin(statistics::groups(c))),
    look("cnt.var_list", &["group"], "The names of the counters of a group.", |c, a| {
        Box::pin(statistics::names(c, a))
    }),
    look("core.aliases_list", &[], "The names that mean this gateway.", |c, _| now(core::aliases_list(c))),
    look("core.arg", &[], "The command line of the process.", |_, _| now(core::arg())),
    look("core.echo", &["values*"], "What it is given.", |_, a| now(core::echo(a))),
    look("core.flags", &[], "What of Kamailio's compile flags this program can do.", |_, _| {
        now(core::flags())
    }),
    look("core.info", &[], "The program.", |_, _| now(core::info())),
    look("core.ps", &[], "The threads of the process, each as its number and its name.", |_, _| {
        now(core::ps())
    }),
    look("core.psx", &[], "The same with a name for each field.", |_, _| now(core::psx())),
    look("core.pwd", &[], "The working directory of the process.", |_, _| now(core::pwd())),
    look(
        "core.shmmem",
        &[],
        "Memory in bytes: total and free of the host or its container, used and real_used (resident) and max_used (most resident) of the process.",
        |_, _| now(core::shmmem()),
    ),
    look("core.sockets_list", &[], "The sockets that are listened on.", |c, _| now(core::sockets_list(c))),
    look("core.tcp_info", &[], "Connections in numbers.", |c, _| now(core::tcp_info(c))),
    look("core.tcp_list", &[], "The open connections of SIP.", |c, _| now(core::tcp_list(c))),
    look("core.uptime", &[], "Since when the gateway runs (UTC).", |c, _| now(core::uptime(c))),
    look("core.version", &[], "The name and version of the program.", |_, _| now(core::version())),
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
    look("tm.stats", &[], "Transactions in numbers. One that is relayed counts once.", |c, _| {
        Box::pin(tm::stats(c))
    }),
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

/// Does what a call asks for.
///
/// # Errors
/// There is no such method, its parameters are others, or it cannot.
pub async fn execute(control: &Control, call: &Call, by: &str) -> Outcome {
    let Some(method) = METHODS.iter().find(|method| method.name == call.method) else {
        return Err(Fault::new(METHOD_NOT_FOUND, "Method not found"));
    };
    let args = Args::bind(method, call.params.clone())?;
    let words = method.changes.then(|| args.to_string());
    let outcome = (method.run)(control, args).await;
    if let Some(params) = words {
        let refused = outcome.as_ref().err().map(ToString::to_string);
        tracing::info!(method = method.name, params, by, refused, "control");
    }
    outcome
}

/// The parameters of a call, each in its place.
#[derive(Debug, Clone)]
pub struct Args {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl std::fmt::Display for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.values.iter().filter_map(text_of).collect();
        f.write_str(&words.join(" "))
    }
}

impl Args {
    fn bind(method: &'static Method, params: Params) -> Result<Self, Fault> {
        let names = method.params;
        let wrong =
            |what: String| Fault::new(INVALID_PARAMS, format!("Invalid params: {what}; {}", usage(method)));
        let values = match params {
            Params::None => Vec::new(),
            Params::List(list) => list,
            Params::Named(mut named) => {
                let bare = |name: &'static str| name.trim_end_matches(['?', '*']);
                let mut values: Vec<Value> =
                    names.iter().map(|name| named.remove(bare(name)).unwrap_or_default()).collect();
                if let Some((unknown, _)) = named.iter().next() {
                    return Err(wrong(format!("there is no {unknown}")));
                }
                while values.last().is_some_and(Value::is_null) {
                    values.pop();
                }
                values
            }
        };
        let rest = names.last().is_some_and(|name| name.ends_with('*'));
        if values.len() > names.len() && !rest {
            return Err(wrong("too many".to_owned()));
        }
        let needed = names.iter().take_while(|name| !name.ends_with(['?', '*']));
        for (place, name) in needed.enumerate() {
            if values.get(place).is_none_or(Value::is_null) {
                return Err(wrong(format!("{name} is missing")));
            }
        }
        Ok(Self { names, values })
    }

    /// The text of a parameter that must be there; a number is as good.
    pub(super) fn text(&self, place: usize) -> Result<String, Fault> {
        let text = self.optional(place)?;
        text.ok_or_else(|| Fault::new(INTERNAL_ERROR, "a parameter that the table does not ask for"))
    }

    /// The text of one that may be left out.
    pub(super) fn optional(&self, place: usize) -> Result<Option<String>, Fault> {
        match self.values.get(place) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text_of(value).map(Some).ok_or_else(|| self.wrong(place, "text")),
        }
    }

    /// The number of a parameter that must be there; text of digits is as good.
    pub(super) fn number<T: std::str::FromStr>(&self, place: usize) -> Result<T, Fault> {
        self.text(place)?.parse().map_err(|_| self.wrong(place, "such a number"))
    }

    /// The number of one that may be left out.
    pub(super) fn optional_number<T: std::str::FromStr>(&self, place: usize) -> Result<Option<T>, Fault> {
        match self.optional(place)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| self.wrong(place, "such a number")),
        }
    }

    /// All values.
    pub(super) fn all(self) -> Vec<Value> {
        self.values
    }

    /// All values as text.
    pub(super) fn texts(&self) -> Result<Vec<String>, Fault> {
        let text = |(place, value)| text_of(value).ok_or_else(|| self.wrong(place, "text"));
        self.values.iter().enumerate().map(text).collect()
    }

    fn wrong(&self, place: usize, wanted: &str) -> Fault {
        let name = self.names.get(place).or(self.names.last()).copied().unwrap_or_default();
        Fault::new(
            INVALID_PARAMS,
            format!("Invalid params: {} is not {wanted}", name.trim_end_matches(['?', '*'])),
        )
    }
}

/// A value that stands for one word.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        _ => None,
    }
}

/// How a method is called.
fn usage(method: &Method) -> String {
    let word = |name: &&str| match (name.strip_suffix('?'), name.strip_suffix('*')) {
        (Some(name), _) => format!(" [{name}]"),
        (_, Some(name)) => format!(" [{name}…]"),
        _ => format!(" {name}"),
    };
    let words: String = method.params.iter().map(word).collect();
    format!("usage: {}{words}", method.name)
}

fn list_methods() -> Outcome {
    let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    Ok(Answer::Value(json!(names)))
}

fn named(args: &Args) -> Result<&'static Method, Fault> {
    let name = args.text(0)?;
    METHODS.iter().find(|method| method.name == name).ok_or_else(|| Fault::new(400, "command not found"))
}

fn method_help(args: &Args) -> Outcome {
    let method = named(args)?;
    Ok(Answer::Value(json!(format!("{} {}.", method.help, usage(method)))))
}

fn method_signature(args: &Args) -> Outcome {
    Ok(Answer::Value(json!(named(args)?.params)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_method_once_in_it_with_its_help() {
        for pair in METHODS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} stands before {}", pair[0].name, pair[1].name);
        }
        for method in METHODS {
            assert!(method.help.ends_with('.'), "{}", method.name);
            let optional = method.params.iter().position(|name| name.ends_with(['?', '*']));
            let (needed, rest) = method.params.split_at(optional.unwrap_or(method.params.len()));
            assert!(needed.len() + rest.len() == method.params.len());
            assert!(rest.iter().all(|name| name.ends_with(['?', '*'])), "{}", method.name);
        }
    }

    #[test]
    fn parameters_by_place_and_by_name() {
        let method = METHODS.iter().find(|method| method.name == "ul.rm_contact").unwrap();
        let bind = |params: Value| {
            let params = match params {
                Value::Array(list) => Params::List(list),
                Value::Object(named) => Params::Named(named),
                _ => Params::None,
            };
            Args::bind(method, params).map(|args| args.texts().unwrap_or_default().join(" "))
        };
        assert_eq!(bind(json!(["location", "a", "b"])).unwrap(), "location a b");
        assert_eq!(bind(json!({"contact": "b", "aor": 7, "table": "location"})).unwrap(), "location 7 b");
        for (params, what) in [
            (json!(null), "table is missing"),
            (json!(["location", "a"]), "contact is missing; usage: ul.rm_contact table aor contact"),
            (json!(["location", null, "b"]), "aor is missing"),
            (json!(["location", "a", "b", "c"]), "too many"),
            (json!({"table": "location", "aor": "a", "contact": "b", "x": 1}), "there is no x"),
        ] {
            let fault = bind(params).unwrap_err();
            assert!(fault.code == INVALID_PARAMS && fault.message.contains(what), "{fault:?}");
        }
    }
}
