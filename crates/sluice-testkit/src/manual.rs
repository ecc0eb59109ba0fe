//! Commands that the manual tells people to type.

const PAGE: &str = include_str!("../../../docs/operations.md");

/// The commands of the block of docs/operations.md that begins with ```` ```sh NAME ````, with these words replaced.
///
/// # Panics
/// If there is no such block, or if the block does not contain one of the words.
pub fn manual(name: &str, words: &[(&str, &str)]) -> String {
    let start = format!("```sh {name}");
    let mut lines = PAGE.lines().skip_while(|line| line.trim_start() != start);
    let first = lines.next().unwrap_or_else(|| panic!("docs/operations.md has no block {name}"));
    let indent = first.len() - first.trim_start().len();
    let block = lines.take_while(|line| line.trim_start() != "```");
    let mut text: String =
        block.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
    for (word, by) in words {
        assert!(text.contains(word), "block {name} of docs/operations.md has no {word}");
        text = text.replace(word, by);
    }
    text
}
