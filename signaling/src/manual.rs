//! The manual page: what `clap_mangen` makes of the program, and a section for each command with all that it takes.

use clap::{Command, builder::StyledStr};
use clap_mangen::Man;

/// The whole page, for `man`.
///
/// # Errors
/// It is no text.
pub(crate) fn page(program: &Command) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let man = Man::new(program.clone());
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let mut text = String::from_utf8(text)?;
    text.push_str(".SH COMMANDS\n");
    for command in program.get_subcommands() {
        describe(&mut text, "causeway", command);
    }
    text.push_str(
        ".SH EXIT STATUS\n\
         0 done; 1 something failed; 2 the command line, the configuration or a parameter of \\fBrpc\\fR is wrong; 3 no gateway runs \
         that could be asked.\n",
    );
    Ok(text)
}

/// A command with its arguments; one that only has others under it is described by these.
fn describe(text: &mut String, before: &str, command: &Command) {
    let name = format!("{before} {}", command.get_name());
    if command.has_subcommands() {
        text.push_str(&format!(".SS \\fB{}\\fR …\n{}\n", roff(&name), plain(command.get_about())));
        options(text, command);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            describe(text, &name, sub);
        }
        return;
    }
    let arguments = || command.get_arguments().filter(|argument| argument.get_id() != "help");
    let mut usage = format!(".SS \\fB{}\\fR", roff(&name));
    for argument in arguments().filter(|argument| argument.is_positional()) {
        let value = argument.get_id().as_str().to_uppercase();
        let value = if argument.is_required_set() { value } else { format!("[{value}]") };
        usage.push_str(&format!(" \\fI{}\\fR", roff(&value)));
    }
    text.push_str(&format!("{usage}\n{}\n", plain(command.get_about())));
    options(text, command);
}

/// What each argument of a command means.
fn options(text: &mut String, command: &Command) {
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
        let word = match argument.get_long() {
            Some(long) => format!("\\fB{}\\fR", roff(&format!("--{long}"))),
            None => format!("\\fI{}\\fR", roff(&argument.get_id().as_str().to_uppercase())),
        };
        let about = plain(argument.get_help());
        if !about.is_empty() {
            text.push_str(&format!(".TP\n{word}\n{about}\n"));
        }
    }
}

fn plain(text: Option<&StyledStr>) -> String {
    roff(&text.map(ToString::to_string).unwrap_or_default())
}

/// Text that `man` shows as it is.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
