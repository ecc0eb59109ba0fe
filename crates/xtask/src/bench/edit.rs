//! Changes to the text of a ruleset, to measure the cost of its parts.

/// Without counters of elements.
pub(super) fn without_element_counters(text: &str) -> String {
    lines(text, |line| (line != "\t\tcounter").then(|| line.to_owned()))
}

/// Without the chain for local clients.
pub(super) fn without_output(text: &str) -> String {
    blocks(text, |block| (!block.starts_with("\tchain output {")).then(|| block.to_owned()))
}

/// Replaces the lookup in the verdict map by the rule of the single pick chain.
pub(super) fn without_vmap(text: &str) -> String {
    let rule = text.lines().find(|line| line.starts_with("\t\tdnat ")).unwrap_or_default().to_owned();
    lines(text, |line| Some(if line.contains(" vmap @") { rule.clone() } else { line.to_owned() }))
}

/// Without the rule for midstream TCP packets.
pub(super) fn without_midstream(text: &str) -> String {
    lines(text, |line| (!line.starts_with("\t\ttcp flags ")).then(|| line.to_owned()))
}

/// Without the rule for backends that send first.
pub(super) fn without_answers(text: &str) -> String {
    lines(text, |line| (!line.ends_with(" goto answers")).then(|| line.to_owned()))
}

/// Without sizes of sets, so that hash tables grow.
pub(super) fn unsized_(text: &str) -> String {
    lines(text, |line| (!line.starts_with("\t\tsize ")).then(|| line.to_owned()))
}

/// With the number of elements as the size of each set.
pub(super) fn sized(text: &str) -> String {
    blocks(&unsized_(text), |block| {
        let count = block.lines().filter(|line| line.contains("elements = {") || line.starts_with("\t\t\t"));
        let count = count.count();
        Some(lines(block, |line| {
            Some(match line.starts_with("\t\ttypeof ") {
                true => format!("{line}\n\t\tsize {count}"),
                false => line.to_owned(),
            })
        }))
    })
}

/// Masquerades with the source port of the client, if it is free.
pub(super) fn keeping_ports(text: &str) -> String {
    text.replace("masquerade fully-random", "masquerade")
}

/// Masquerades without the lookup of the service.
pub(super) fn masquerading_all(text: &str) -> String {
    lines(text, |line| {
        Some(match line.ends_with("masquerade fully-random") {
            true => "\t\tct status dnat masquerade fully-random".to_owned(),
            false => line.to_owned(),
        })
    })
}

fn lines(text: &str, edit: impl Fn(&str) -> Option<String>) -> String {
    text.split('\n').filter_map(edit).collect::<Vec<_>>().join("\n")
}

/// Splits the text at empty lines, into sets and chains.
fn blocks(text: &str, edit: impl Fn(&str) -> Option<String>) -> String {
    text.split("\n\n").filter_map(edit).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "table inet sluice {\n\tmap m {\n\t\ttypeof ip daddr : ip daddr\n\t\tsize 1024\n\t\tcounter\n\
        \t\telements = { 192.0.2.1 : 192.0.2.3,\n\t\t\t     192.0.2.2 : 192.0.2.3 }\n\t}\n\n\tchain output {\n\t}\n\n\
        \tchain p {\n\t\tdnat ip to ip daddr map @m\n\t}\n\n\tchain prerouting {\n\t\tip daddr vmap @v\n\t}\n}\n";

    #[test]
    fn sized_set_of_two_has_room_for_two() {
        assert_eq!(sized(TEXT), TEXT.replace("size 1024", "size 2"));
    }

    #[test]
    fn part_left_out_leaves_the_rest() {
        assert_eq!(without_output(TEXT), TEXT.replace("\tchain output {\n\t}\n\n", ""));
        assert_eq!(without_element_counters(TEXT), TEXT.replace("\t\tcounter\n", ""));
        assert_eq!(without_vmap(TEXT), TEXT.replace("ip daddr vmap @v", "dnat ip to ip daddr map @m"));
    }
}
