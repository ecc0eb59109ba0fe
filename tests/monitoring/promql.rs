//! As much of PromQL as it takes to see which series an expression is about.

use std::collections::BTreeSet;

/// `metric{label="value"}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) labels: BTreeSet<String>,
}

/// Words that are followed by labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// All selectors of an expression, in order.
pub(crate) fn selectors(expr: &str) -> Vec<Selector> {
    let tokens = tokens(expr);
    let mut found = Vec::new();
    let mut rest = &tokens[..];
    while let [first, behind @ ..] = rest {
        rest = behind;
        let Token::Word(word) = first else { continue };
        match behind.first() {
            _ if GROUPINGS.contains(&&**word) => rest = split_at(behind, ')').1,
            _ if OPERATORS.contains(&&**word) => {}
            // A function, or an aggregation.
            Some(Token::Sign('(')) => {}
            Some(Token::Word(grouping)) if GROUPINGS.contains(&&**grouping) => {}
            Some(Token::Sign('{')) => {
                let (inside, after) = split_at(behind, '}');
                rest = after;
                found.push(Selector { metric: word.clone(), labels: words(inside) });
            }
            _ => found.push(Selector { metric: word.clone(), labels: BTreeSet::new() }),
        }
    }
    found
}

/// Labels that series are grouped or matched by.
pub(crate) fn labels_grouped_by(expr: &str) -> BTreeSet<String> {
    let tokens = tokens(expr);
    let groupings = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| matches!(token, Token::Word(word) if GROUPINGS.contains(&&**word)));
    groupings.flat_map(|(n, _)| words(split_at(&tokens[n + 1..], ')').0)).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
}

/// Words and signs; texts, numbers and what stands in brackets are left out.
fn tokens(expr: &str) -> Vec<Token> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut tokens = Vec::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => 2 + rest[1..].find('"').expect("texts end"),
            '[' => 1 + rest.find(']').expect("ranges end"),
            first if in_word(first) => rest.find(|c| !in_word(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match first {
            '"' | '[' | '0'..='9' | ' ' => {}
            first if in_word(first) => tokens.push(Token::Word(token.to_owned())),
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    tokens
}

/// What stands before a sign and what behind.
fn split_at(tokens: &[Token], sign: char) -> (&[Token], &[Token]) {
    let at = tokens.iter().position(|token| *token == Token::Sign(sign)).expect("what opens also closes");
    (&tokens[..at], &tokens[at + 1..])
}

fn words(tokens: &[Token]) -> BTreeSet<String> {
    let word = |token: &Token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Sign(_) => None,
    };
    tokens.iter().filter_map(word).collect()
}

#[test]
fn selectors_of_an_expression_are_its_metrics_with_their_labels() {
    let expr = r#"sum by (service, le) (rate(a_total{x="y (z{}", w=~"."}[5m])) > 0.5 or c:d / on (job) group_left (version) e"#;
    let selector = |metric: &str, labels: &[&str]| Selector {
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(selectors(expr), [selector("a_total", &["w", "x"]), selector("c:d", &[]), selector("e", &[])]);
    assert_eq!(labels_grouped_by(expr), selector("", &["job", "le", "service", "version"]).labels);
}
