//! [`Page`]: writes man(7) macros.

use roff::{Inline, Roff, bold, line_break, roman};

/// Maximum width of an unfilled line: with the margin, it fits a terminal of 80 columns.
const VERBATIM_WIDTH: usize = 68;

/// One page.
pub(crate) struct Page {
    roff: Roff,
    /// Whether a heading was last, after which a paragraph begins anyway.
    fresh: bool,
}

impl Page {
    /// A page with its title line. `date` is that of the release.
    pub(crate) fn new(name: &str, section: u8, date: &str, version: &str) -> Self {
        let mut roff = Roff::new();
        let (section, version) = (section.to_string(), format!("sluice {version}"));
        roff.control("TH", [name, &section, date, &version, "sluice manual"]);
        // Commands and keys are long words: no hyphens in them, and no gaps to make both margins straight.
        roff.control("nh", []).control("ad", ["l"]);
        Page { roff, fresh: false }
    }

    /// The page, as for `man -l`.
    pub(crate) fn render(&self) -> String {
        self.roff.render()
    }

    pub(crate) fn section(&mut self, title: &str) {
        self.roff.control("SH", [title.to_uppercase().as_str()]);
        self.fresh = true;
    }

    pub(crate) fn subsection(&mut self, title: Vec<Inline>) {
        self.roff.control("SS", []).text(title);
        self.fresh = true;
    }

    pub(crate) fn paragraph(&mut self, text: Vec<Inline>) {
        if !self.fresh {
            self.roff.control("PP", []);
        }
        self.roff.text(text);
        self.fresh = false;
    }

    /// Lines that are filled separately.
    pub(crate) fn lines(&mut self, lines: Vec<Vec<Inline>>) {
        self.paragraph(lines.join(&line_break()));
    }

    /// A term and its description; [`Page::continued`] adds paragraphs.
    pub(crate) fn term(&mut self, tag: Vec<Inline>, text: Vec<Inline>) {
        self.roff.control("TP", []).text(tag);
        self.fresh = false;
        // An empty line would be a warning.
        if !text.is_empty() {
            self.roff.text(text);
        }
    }

    /// A further paragraph of a term.
    pub(crate) fn continued(&mut self, text: Vec<Inline>) {
        self.roff.control("IP", []).text(text);
    }

    pub(crate) fn bullet(&mut self, text: Vec<Inline>) {
        self.roff.control("IP", ["\\(bu", "2"]).text(text);
        self.fresh = false;
    }

    /// Lines of a shell or of a file, unfilled if they fit.
    pub(crate) fn verbatim<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        if !self.fresh {
            self.roff.control("PP", []);
        }
        self.fresh = false;
        self.roff.control("RS", ["4"]).control("nf", []);
        for line in fitted(lines.into_iter().collect()) {
            self.roff.text([roman(line)]);
        }
        self.roff.control("fi", []).control("RE", []);
    }
}

/// Text, with bold for words in backquotes.
pub(crate) fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(n, part)| if n % 2 == 1 { bold(part) } else { roman(part) });
    parts.filter(|part| *part != roman("")).collect()
}

/// Breaks lines that are too long, if possible: if a remark does not fit, all remarks go below their lines, and commands
/// are broken where a shell continues in the next line.
fn fitted(lines: Vec<&str>) -> Vec<String> {
    const REMARK: &str = "   ";
    let remarked = |line: &str| line.trim_start().contains(REMARK);
    let fits = |line: &str| line.chars().count() <= VERBATIM_WIDTH;
    if lines.iter().all(|line| fits(line) || !remarked(line)) {
        return lines.into_iter().flat_map(broken).collect();
    }
    let below = |line: &str| match line.split_once(REMARK) {
        Some((command, remark)) => vec![command.to_owned(), format!("    {}", remark.trim_start())],
        None => broken(line),
    };
    lines.into_iter().flat_map(below).collect()
}

/// Breaks a line into parts that fit: after a pipe or `&&`, where a shell continues in the next line; else after a comma,
/// where YAML continues; else between words.
fn broken(line: &str) -> Vec<String> {
    if line.chars().count() <= VERBATIM_WIDTH {
        return vec![line.to_owned()];
    }
    let end = operators(line).or_else(|| before(line, ", ")).or_else(|| before(line, " "));
    let Some(end) = end else { return vec![line.to_owned()] };
    let indent = line.len() - line.trim_start().len() + 4;
    let rest = broken(&format!("{:indent$}{}", "", line[end..].trim_start()));
    [line[..end].trim_end().to_owned()].into_iter().chain(rest).collect()
}

/// The position after the last operator of the shell that fits.
fn operators(line: &str) -> Option<usize> {
    let mut quoted = false;
    let ends = line.char_indices().filter_map(|(at, c)| {
        quoted ^= c == '\'';
        let operator = ["| ", "&& ", "|| "].into_iter().find(|operator| line[at..].starts_with(operator))?;
        let whole = !quoted && line[..at].ends_with(' ');
        (whole && at + operator.len() <= VERBATIM_WIDTH).then_some(at + operator.len())
    });
    ends.last()
}

/// The position after the last separator that fits and is not part of the indentation.
fn before(line: &str, separator: &str) -> Option<usize> {
    let (fits, _) = line.char_indices().nth(VERBATIM_WIDTH)?;
    let end = line[..fits].rfind(separator)? + separator.len();
    (!line[..end].trim().is_empty()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_shell_that_is_too_wide_is_broken_behind_a_pipe_outside_of_quotes() {
        let line = "sluice status --json | jq '.services[].backends[] | {name, connections_total}'";
        let parts = ["sluice status --json |", "    jq '.services[].backends[] | {name, connections_total}'"];
        assert_eq!(broken(line), parts);
        assert_eq!(broken("sluice check && sluice reload"), ["sluice check && sluice reload"]);
    }

    #[test]
    fn line_of_yaml_that_is_too_wide_is_broken_behind_a_comma() {
        let line = format!("  listen: [{}, {}]", "203.0.113.10:80/tcp".repeat(2), "x".repeat(40));
        let parts = broken(&line);
        assert!(parts[0].ends_with(','), "{parts:?}");
        assert!(parts[1].starts_with("      xxx"), "{parts:?}");
    }

    #[test]
    fn remarks_go_below_when_one_makes_its_line_too_wide() {
        let wide = format!("sluice top{:30}{:40}|", "", "all of it, live");
        let lines = fitted(vec!["sluice check   one", &wide]);
        assert_eq!(lines[..3], ["sluice check", "    one", "sluice top"]);
        assert_eq!(fitted(vec!["sluice check   one"]), ["sluice check   one"]);
    }

    #[test]
    fn text_with_backquotes_is_bold_between_them() {
        assert_eq!(inlines("`a` b"), [bold("a"), roman(" b")]);
    }
}
