//! Methods: help, listing, the check of parameters and the dispatch follow from the table of them.

mod table;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

pub use self::table::{ABSENT, METHODS};
use super::Control;
use super::jsonrpc::{Answer, Call, Fault, INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Params};

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
    run: fn(&Control, Args) -> BoxFuture<'_, Outcome>,
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Method").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Does what a call asks for.
///
/// # Errors
/// There is no such method, its parameters are others, or it cannot.
pub async fn execute(control: &Control, call: &Call, by: &str) -> Outcome {
    let Some(method) = METHODS.iter().find(|method| method.name == call.method) else {
        return Err(not_found(&call.method));
    };
    let args = Args::bind(method, call.params.clone())?;
    let words = method.changes.then(|| args.said(method));
    let outcome = (method.run)(control, args).await;
    if let Some(params) = words {
        let refused = outcome.as_ref().err().map(ToString::to_string);
        tracing::info!(method = method.name, params, by, refused, "control");
    }
    outcome
}

/// There is no such method; of one that Kamailio has it is said why.
fn not_found(name: &str) -> Fault {
    let is_it = |absent: &str| absent.strip_suffix('.').map_or(name == absent, |_| name.starts_with(absent));
    let why = ABSENT.iter().find(|(absent, _)| is_it(absent)).map(|(_, why)| format!(": {why}"));
    Fault::new(METHOD_NOT_FOUND, format!("Method not found{}", why.unwrap_or_default()))
}

/// The parameters of a call, each in its place.
#[derive(Debug, Clone)]
pub struct Args {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl Args {
    /// What the log says of them. The value of a key may be one that nobody is to see.
    fn said(&self, method: &Method) -> String {
        let shown = if method.name.starts_with("cfg.set") { 2 } else { self.values.len() };
        let words: Vec<String> = self.values.iter().take(shown).filter_map(text_of).collect();
        words.join(" ")
    }

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

    /// A value as it is.
    pub(super) fn value(&self, place: usize) -> Option<&Value> {
        self.values.get(place)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.values.len()
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

    /// What `kamcmd` lists in the articles: each name is here, or it is said why not.
    #[test]
    fn every_name_of_the_articles_is_known() {
        const NAMES: &str = "cfg.add_group_inst cfg.commit cfg.del cfg.del_delayed cfg.del_group_inst cfg.diff cfg.get cfg.help \
            cfg.list cfg.reset cfg.rollback cfg.set cfg.set_delayed cfg.set_delayed_int cfg.set_delayed_string cfg.set_now_int \
            cfg.set_now_string cfg.seti cfg.sets cnt.get cnt.get_raw cnt.get_vars cnt.grp_get_all cnt.grps_list cnt.help \
            cnt.list_groups cnt.list_vars cnt.reset cnt.var_list core.aliases_list core.arg core.echo core.flags core.info \
            core.kill core.modules core.ppdefines core.printi core.prints core.ps core.psx core.pwd core.shmmem \
            core.sockets_list core.tcp_info core.tcp_list core.tcp_options core.udp4_raw_info core.uptime core.version \
            corex.debug corex.list_aliases corex.list_sockets corex.pkg_summary corex.shm_status corex.shm_summary \
            ctl.connections ctl.listen ctl.who dns.add_a dns.add_aaaa dns.add_srv dns.debug dns.debug_all dns.delete_a \
            dns.delete_aaaa dns.delete_all dns.delete_all_force dns.delete_cname dns.delete_ebl dns.delete_naptr dns.delete_ptr \
            dns.delete_srv dns.delete_txt dns.lookup dns.mem_info dns.view dst_blacklist.add dst_blacklist.debug \
            dst_blacklist.delete_all dst_blacklist.mem_info dst_blacklist.view jsonrpc.echo mod.stats pkg.stats pv.shvGet \
            pv.shvSet sl.stats stats.clear_statistics stats.fetch stats.get_statistics stats.reset_statistics \
            system.listMethods system.methodHelp system.methodSignature tls.info tm.cancel tm.clean tm.hash_stats tm.list \
            tm.reply tm.reply_callid tm.stats tm.t_uac_start tm.t_uac_wait ul.add ul.db_contacts ul.db_expired_contacts \
            ul.db_users ul.dump ul.flush ul.lookup ul.rm ul.rm_contact \
            dlg.list dlg.list_ctx dlg.dlg_list dlg.dlg_list_ctx dlg.terminate_dlg dlg.end_dlg dlg.profile_get_size \
            dlg.profile_list dlg.bridge_dlg rtpengine.reload rtpengine.enable rtpengine.show rtpengine.ping \
            rtpengine.get_hash_total dispatcher.list dispatcher.reload dispatcher.set_state dispatcher.ping_active \
            dispatcher.add dispatcher.remove htable.dump htable.get htable.delete htable.sets htable.seti pike.top";
        for name in NAMES.split_whitespace() {
            let here = METHODS.iter().any(|method| method.name == name);
            let why = not_found(name).message;
            assert!(here || why.starts_with("Method not found: "), "{name}");
        }
        for (absent, why) in ABSENT {
            assert!(METHODS.iter().all(|method| method.name != *absent) && !why.is_empty(), "{absent}");
        }
        assert_eq!(not_found("core.no_such").message, "Method not found");
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
