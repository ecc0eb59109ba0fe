//! Converts the Markdown of the reference and of the pages to man(7): headings, paragraphs, lists, tables, code and
//! links. Other elements are errors, so that nothing gets lost.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, bold, roman};

use super::page::Page;

/// Appends `text` to the page, without the title of the document.
pub(crate) fn append(page: &mut Page, text: &str) {
    let mut writer =
        Writer { page, text: Vec::new(), style: None, at: At::Paragraph, table: Table::default() };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        writer.event(event);
    }
}

struct Writer<'a> {
    page: &'a mut Page,
    /// The text so far of the current paragraph, heading, or cell.
    text: Vec<Inline>,
    style: Option<fn(String) -> Inline>,
    at: At,
    table: Table,
}

/// The place of a paragraph.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Paragraph,
    /// The first paragraph of a list element, and the further ones.
    Bullet,
    BelowBullet,
    Code,
}

impl Writer<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(code) if self.at == At::Code => self.page.verbatim(code.lines()),
            Event::Text(text) => {
                let style = self.style.unwrap_or(Inline::Roman);
                self.text.push(style(text.into_string()));
            }
            Event::Code(code) => self.text.push(bold(code.into_string())),
            Event::SoftBreak => self.text.push(roman(" ")),
            other => panic!("no man(7) for {other:?}"),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::Heading { .. } | Tag::TableCell | Tag::List(None) | Tag::Link { .. } => {}
            Tag::Emphasis => self.style = Some(Inline::Italic),
            Tag::Strong => self.style = Some(Inline::Bold),
            Tag::Item => self.at = At::Bullet,
            Tag::CodeBlock(_) => self.at = At::Code,
            Tag::Table(_) => self.table = Table::default(),
            Tag::TableHead | Tag::TableRow => self.table.0.push(Vec::new()),
            other => panic!("no man(7) for {other:?}"),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.paragraph(),
            TagEnd::Heading(HeadingLevel::H1) => self.text.clear(),
            TagEnd::Heading(HeadingLevel::H2) => self.page.section(&plain(&std::mem::take(&mut self.text))),
            TagEnd::Heading(_) => self.page.subsection(std::mem::take(&mut self.text)),
            TagEnd::Item => {
                // The text of a tight list has no paragraphs.
                self.paragraph();
                self.at = At::Paragraph;
            }
            TagEnd::CodeBlock => self.at = At::Paragraph,
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                self.table.0.last_mut().expect("a cell is in a row").push(cell);
            }
            TagEnd::Table => std::mem::take(&mut self.table).append(self.page),
            TagEnd::Emphasis | TagEnd::Strong => self.style = None,
            TagEnd::TableHead | TagEnd::TableRow | TagEnd::List(_) | TagEnd::Link => {}
            other => panic!("no man(7) for {other:?}"),
        }
    }

    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return;
        }
        match self.at {
            At::Paragraph | At::Code => self.page.paragraph(text),
            At::Bullet => {
                self.page.bullet(text);
                self.at = At::BelowBullet;
            }
            At::BelowBullet => self.page.continued(text),
        }
    }
}

/// Rows of cells; the first row is the head. Most tables are too wide for a terminal: the first cell of each row becomes
/// a term, and its other cells become the description, with the words of the head.
#[derive(Default)]
struct Table(Vec<Vec<Vec<Inline>>>);

impl Table {
    fn append(self, page: &mut Page) {
        let mut rows = self.0.into_iter();
        let head: Vec<String> = rows.next().unwrap_or_default().iter().map(|cell| plain(cell)).collect();
        let rows: Vec<_> = rows.collect();
        // Where the first cells do not tell rows apart, the first two do.
        let firsts = rows.iter().map(|row| &row[0]).collect::<Vec<_>>();
        let ambiguous = firsts.iter().enumerate().any(|(n, first)| firsts[..n].contains(first));
        for mut row in rows {
            let rest = row.split_off(if ambiguous { 2 } else { 1 });
            let mut tag = row.remove(0);
            if let Some(second) = row.pop() {
                tag.insert(0, roman(format!("{}: ", head[0])));
                tag.push(roman(format!("; {}: ", head[1])));
                tag.extend(second);
            }
            let names = &head[head.len() - rest.len()..];
            page.term(tag, sentences(names, rest));
        }
    }
}

/// `Type: word. Default: none.`, or the cell alone if it is the only one or its column has no name.
fn sentences(names: &[String], cells: Vec<Vec<Inline>>) -> Vec<Inline> {
    let mut text = Vec::new();
    for (name, cell) in names.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
        if !text.is_empty() {
            text.push(roman(" "));
        }
        // What has no default is not a default.
        let required = plain(cell) == "required";
        if required {
            text.push(roman("Required"));
        } else if cells.len() > 1 && !name.is_empty() {
            text.push(roman(format!("{}: ", capitalised(name))));
        }
        match cell.split_first() {
            Some((Inline::Roman(first), rest)) if cells.len() == 1 => {
                text.push(roman(capitalised(first)));
                text.extend(rest.iter().cloned());
            }
            _ if required => {}
            _ => text.extend(cell.iter().cloned()),
        }
        if !plain(cell).ends_with(['.', '!', '?']) {
            text.push(roman("."));
        }
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}

/// The plain text.
fn plain(text: &[Inline]) -> String {
    let part = |inline: &Inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    text.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(text: &str) -> String {
        let mut page = Page::new("x", 5, "2026-01-01", "0");
        append(&mut page, text);
        let rendered = page.render();
        rendered.split_once(".ad l\n").unwrap().1.to_owned()
    }

    #[test]
    fn row_of_a_table_is_a_term_with_what_the_head_says() {
        let table =
            "| key | type | default |\n|---|---|---|\n| `refresh` | duration | `60s` |\n| `http` | | |\n";
        let expected = ".TP\n\\fBrefresh\\fR\nType: duration. Default: \\fB60s\\fR.\n.TP\n\\fBhttp\\fR\n";
        assert_eq!(roff(table), expected);
    }

    #[test]
    fn row_of_a_table_whose_first_cells_repeat_is_told_by_two() {
        let table = "| listener | backend | to |\n|-|-|-|\n| any | no port | a |\n| any | one | b |\n";
        let expected = ".TP\nlistener: any; backend: no port\nA.\n.TP\nlistener: any; backend: one\nB.\n";
        assert_eq!(roff(table), expected);
    }

    #[test]
    fn list_code_and_links_are_written_as_text() {
        let text = "- a `b`\n  c\n\n  d\n- [e](f.md)\n\n```yaml\nx:\n  - y\n```\n";
        let expected =
            ".IP \\(bu 2\na \\fBb\\fR c\n.IP\nd\n.IP \\(bu 2\ne\n.PP\n.RS 4\n.nf\nx:\n  \\- y\n.fi\n.RE\n";
        assert_eq!(roff(text), expected);
    }

    #[test]
    #[should_panic(expected = "no man(7) for")]
    fn markdown_that_has_no_form_in_a_page_is_refused() {
        roff("![picture](x.png)");
    }
}
