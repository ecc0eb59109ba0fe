//! Converts the help of a command line to parts of a page.

use clap::{Arg, Command};
use roff::{Inline, bold, italic, roman};

use super::page::{Page, inlines};

/// The usage of a program, or of each of its commands.
pub(crate) fn synopsis(page: &mut Page, command: &mut Command) {
    page.section("Synopsis");
    let mut lines = Vec::new();
    if command.has_subcommands() {
        commands_of(command).for_each(|command| lines.push(usage(command)));
    } else {
        lines.push(usage(command));
    }
    page.lines(lines);
}

/// The options of a program and of all its commands.
pub(crate) fn options(page: &mut Page, command: &Command) {
    page.section("Options");
    arguments(page, command.get_arguments());
}

/// The commands of a program: descriptions, arguments, and examples.
pub(crate) fn commands(page: &mut Page, program: &mut Command) {
    page.section("Commands");
    // Commands that belong together share their examples: those are printed with the first.
    let mut last: Option<(String, String)> = None;
    for command in commands_of(program) {
        page.subsection(usage(command));
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
        let about = about.unwrap_or_default();
        about.split("\n\n").for_each(|text| page.paragraph(ended(text)));
        arguments(page, command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help"));
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        match &last {
            Some((earlier, text)) if *text == help => {
                page.paragraph(inlines(&format!("Examples and notes: see `{earlier}` above.")));
            }
            _ => {
                notes(page, &help);
                last = Some((command.get_name().to_owned(), help));
            }
        }
    }
}

/// Environment variables of options.
pub(crate) fn environment(page: &mut Page, command: &Command) {
    for arg in command.get_arguments() {
        if let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) {
            let text = format!("Counts as `--{long}` where that is not given.");
            page.term(vec![bold(variable.to_string_lossy())], inlines(&text));
        }
    }
}

/// The text after the help of a command: examples unchanged, the rest filled.
pub(crate) fn notes(page: &mut Page, help: &str) {
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        match paragraph.split_once(":\n") {
            Some((title, examples)) if examples.lines().all(|line| line.starts_with("  ")) => {
                page.paragraph(inlines(&format!("{title}:")));
                page.verbatim(examples.lines().map(|line| &line[2..]));
            }
            _ => page.lines(paragraph.replace("\n  ", "\0").split('\0').map(filled).collect()),
        }
    }
}

/// A line that may be wrapped.
fn filled(text: &str) -> Vec<Inline> {
    inlines(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn commands_of(program: &mut Command) -> impl Iterator<Item = &mut Command> {
    program.get_subcommands_mut().filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

/// The usage line: the name is bold, placeholders are italic.
fn usage(command: &mut Command) -> Vec<Inline> {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut parts = vec![bold(name)];
    let mut rest = usage.strip_prefix(name).unwrap_or(usage);
    while let Some(start) = rest.find(|c: char| c.is_ascii_uppercase()) {
        let end = rest[start..].find(|c: char| !(c.is_ascii_uppercase() || c == '/' || c == '_'));
        let end = end.map_or(rest.len(), |end| start + end);
        parts.extend([roman(rest[..start].replace(['<', '>'], "")), italic(&rest[start..end])]);
        rest = &rest[end..];
    }
    parts.push(roman(rest.replace(['<', '>'], "")));
    parts.retain(|part| *part != roman(""));
    parts
}

fn arguments<'a>(page: &mut Page, arguments: impl Iterator<Item = &'a Arg>) {
    for arg in arguments.filter(|arg| !arg.is_hide_set()) {
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        // Some defaults are no values, so the help tells them.
        let (help, told) = help.trim_end_matches(']').split_once(" [default: ").unwrap_or((&help, ""));
        let mut text = ended(help);
        let takes_value = arg.get_action().takes_values();
        let given = arg.get_default_values().iter().map(|value| value.to_string_lossy());
        let default = if told.is_empty() { given.collect::<Vec<_>>().join(" ") } else { told.to_owned() };
        let is_value = !default.contains(' ');
        if takes_value && !default.is_empty() {
            let quote = if is_value { "`" } else { "" };
            text.extend(inlines(&format!(" Default: {quote}{default}{quote}.")));
        }
        // `true` and `false` of a flag are no values that anybody writes.
        let mut values = arg.get_possible_values();
        values.retain(|value| takes_value && !value.is_hide_set());
        let explained = values.iter().any(|value| value.get_help().is_some());
        if !explained && !values.is_empty() {
            let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
            text.extend(inlines(&format!(" One of {}.", names.join(", "))));
        }
        page.term(tag(arg), text);
        for value in values.iter().filter(|_| explained) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            page.continued([vec![bold(value.get_name()), roman(": ")], ended(&help)].concat());
        }
    }
}

/// `-c, --config FILE`, or the name of an argument.
fn tag(arg: &Arg) -> Vec<Inline> {
    let mut tag = Vec::new();
    if let Some(short) = arg.get_short() {
        tag.push(bold(format!("-{short}")));
    }
    if let Some(long) = arg.get_long() {
        if !tag.is_empty() {
            tag.push(roman(", "));
        }
        tag.push(bold(format!("--{long}")));
    }
    if arg.is_positional() || arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        let name = names.first().map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
        if !tag.is_empty() {
            tag.push(roman(" "));
        }
        tag.push(italic(name));
    }
    tag
}

/// A sentence that clap prints without its full stop.
fn ended(text: &str) -> Vec<Inline> {
    let text = text.trim_end();
    inlines(&if text.ends_with(['.', '?']) { text.to_owned() } else { format!("{text}.") })
}
