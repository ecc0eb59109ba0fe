//! YAML syntax: which features are refused, and the line and column of each node.
//!
//! Walks the events of `yaml-rust2` and keeps only the positions that are asked for. A tree of marked nodes would lose
//! the second of two equal keys, which is the one to report, and takes ten times the memory of the text.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

use crate::problem::{Fault, Position};
use crate::yaml_path::{PathStep, YamlPath};

/// Maximum nesting of lists and mappings; a configuration needs 6.
const MAX_DEPTH: usize = 32;

/// What a document has at its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// A mapping of settings.
    Settings,
    /// A list of backends.
    Backends,
}

/// Checks that `text` is one YAML document with this root, without anchors, tags, and keys that are not strings.
///
/// Anchors are refused because an error in an anchored value appears at several nodes at once, and because nested
/// aliases expand without bounds. `defaults` replaces them.
pub(crate) fn check(text: &str, root: Root) -> Result<(), (Position, Fault)> {
    walk(text, root, &mut RequestedPositions::default())
}

/// Finds the line and column of each path in one document. A path that does not exist, such as an index into a scalar,
/// has the position of its nearest ancestor.
pub(crate) fn locate(text: &str, root: Root, places: &[&YamlPath]) -> Vec<Option<Position>> {
    let mut requested = RequestedPositions::default();
    let nodes: Vec<usize> = places.iter().map(|place| requested.add(&place.steps)).collect();
    // The text was walked before it was read; if that failed, this stops at the same event.
    let _ = walk(text, root, &mut requested);
    places.iter().zip(nodes).map(|(place, node)| requested.position(node, place.key)).collect()
}

/// The tree of nodes whose positions are requested.
#[derive(Debug)]
struct RequestedPositions(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    parent: Option<usize>,
    children: HashMap<PathStep, usize>,
    key: Option<Position>,
    value: Option<Position>,
}

impl Default for RequestedPositions {
    /// The root, which every document has.
    fn default() -> Self {
        RequestedPositions(vec![Node::default()])
    }
}

impl RequestedPositions {
    fn add(&mut self, steps: &[PathStep]) -> usize {
        steps.iter().fold(0, |node, step| {
            if let Some(child) = self.0[node].children.get(step) {
                return *child;
            }
            let child = self.0.len();
            self.0.push(Node { parent: Some(node), ..Node::default() });
            self.0[node].children.insert(step.clone(), child);
            child
        })
    }

    fn position(&self, node: usize, key: bool) -> Option<Position> {
        let Node { parent, key: of_key, value: of_value, .. } = &self.0[node];
        let own = if key { of_key.or(*of_value) } else { of_value.or(*of_key) };
        own.or_else(|| self.position((*parent)?, false))
    }

    fn child(&self, node: Option<usize>, step: &PathStep) -> Option<usize> {
        self.0[node?].children.get(step).copied()
    }
}

/// An open list or mapping; `node` is set if a position inside is requested.
struct OpenNode {
    node: Option<usize>,
    inside: Inside,
}

enum Inside {
    List {
        next: usize,
    },
    /// `entry` is the node of the last key. Keys are counted only if a position inside is requested.
    Mapping {
        counts: HashMap<String, u32>,
        entry: Option<Option<usize>>,
    },
}

fn walk(text: &str, root: Root, requested: &mut RequestedPositions) -> Result<(), (Position, Fault)> {
    let mut parser = Parser::new_from_str(text);
    let mut stack: Vec<OpenNode> = Vec::new();
    let mut documents = 0;
    loop {
        let (event, marker) = parser.next_token().map_err(|error| syntax(&error))?;
        let at = position(marker);
        let refuse = |what: &str, fix: &str| Err((at, Fault::new(what, fix)));
        match &event {
            Event::Alias(_) => return refuse("YAML aliases are not supported", root.instead_of_anchors()),
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => {
                if *anchor != 0 {
                    return refuse("YAML anchors are not supported", root.instead_of_anchors());
                }
                if tag.is_some() {
                    return refuse("YAML tags are not supported", "remove the tag, or quote the text");
                }
            }
            _ => {}
        }
        match event {
            Event::DocumentStart => {
                documents += 1;
                if documents == 2 {
                    return refuse("the file has a second YAML document", "remove the `---` line");
                }
            }
            Event::StreamEnd if documents == 0 => return Err((START, root.empty())),
            Event::StreamEnd => return Ok(()),
            Event::SequenceEnd | Event::MappingEnd => {
                stack.pop();
            }
            Event::Scalar(text, style, ..) => {
                let absent = text.is_empty() && style == TScalarStyle::Plain;
                match stack.last_mut() {
                    None if absent => return Err((START, root.empty())),
                    None => return Err((at, root.other())),
                    Some(OpenNode { node, inside: Inside::Mapping { counts, entry: entry @ None } }) => {
                        *entry = Some(requested.meet_key(*node, counts, text, at));
                    }
                    Some(frame) => {
                        let node = requested.enter(frame);
                        // The event of a missing value has the position of what follows it.
                        if let (Some(node), false) = (node, absent) {
                            requested.0[node].value = Some(at);
                        }
                    }
                }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let mapping = matches!(event, Event::MappingStart(..));
                let node = match stack.last_mut() {
                    None if mapping == (root == Root::Settings) => Some(0),
                    None => return Err((at, root.other())),
                    Some(OpenNode { inside: Inside::Mapping { entry: None, .. }, .. }) => {
                        return refuse("a key is not a string", "quote it");
                    }
                    Some(frame) => requested.enter(frame),
                };
                if stack.len() == MAX_DEPTH {
                    return Err((at, too_deep()));
                }
                if let Some(node) = node {
                    requested.0[node].value = Some(at);
                }
                let inside = match mapping {
                    true => Inside::Mapping { counts: HashMap::new(), entry: None },
                    false => Inside::List { next: 0 },
                };
                stack.push(OpenNode { node, inside });
            }
            Event::Nothing | Event::StreamStart | Event::DocumentEnd | Event::Alias(_) => {}
        }
    }
}

impl RequestedPositions {
    /// Records a key of the mapping `node` and returns the node of its value.
    fn meet_key(
        &mut self,
        node: Option<usize>,
        counts: &mut HashMap<String, u32>,
        key: String,
        at: Position,
    ) -> Option<usize> {
        let node = node?;
        // The parser reports the start of a block mapping after its first key.
        self.0[node].value = self.0[node].value.min(Some(at));
        if self.0[node].children.is_empty() {
            return None;
        }
        let nth = *counts.entry(key.clone()).and_modify(|count| *count += 1).or_insert(0);
        let child = self.child(Some(node), &PathStep::Key(key, nth))?;
        self.0[child].key = Some(at);
        Some(child)
    }

    /// The node of the next value in `frame`.
    fn enter(&mut self, frame: &mut OpenNode) -> Option<usize> {
        match &mut frame.inside {
            Inside::List { next } => {
                *next += 1;
                self.child(frame.node, &PathStep::Index(*next - 1))
            }
            Inside::Mapping { entry, .. } => entry.take().flatten(),
        }
    }
}

const START: Position = Position { line: 1, column: 1 };

impl Root {
    fn empty(self) -> Fault {
        let fix = match self {
            Root::Settings => "write `services: {}` for a file without services",
            Root::Backends => "write `[]` for a file without backends",
        };
        Fault::new("the file is empty", fix)
    }

    /// The fault of a document with another root.
    fn other(self) -> Fault {
        match self {
            Root::Settings => Fault::new("the file is not a mapping", "start with `services:`"),
            Root::Backends => {
                Fault::new("the file is not a list", "write a list of backends, such as `- 10.0.2.11:8080`")
            }
        }
    }

    fn instead_of_anchors(self) -> &'static str {
        match self {
            Root::Settings => "write the value out, or use `defaults`",
            Root::Backends => "write the value out",
        }
    }
}

fn too_deep() -> Fault {
    Fault::new(format!("nested more than {MAX_DEPTH} levels deep"), "a configuration needs 6")
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line() as u32, column: marker.col() as u32 + 1 }
}

fn syntax(error: &ScanError) -> (Position, Fault) {
    let info = error.info();
    let says = |text| info.contains(text);
    let fault = if says("recursion limit") {
        too_deep()
    } else if says("anchor") || says("alias") {
        Fault::new("`*` and `&` start a YAML alias or anchor", "quote text that starts with one of them")
    } else {
        let fix = if says("tab") {
            "indent with spaces"
        } else if says("mapping values are not allowed") {
            "check the indentation, and quote text that contains `: `"
        } else if says("unexpected character") {
            "quote text that starts with it"
        } else if says("quoted scalar") {
            "close the quotes"
        } else if says("flow") || says("illegal placement") || says("node content") {
            "close the brackets"
        } else {
            "check the indentation, quotes and brackets up to here"
        };
        Fault::new(format!("not valid YAML: {info}"), fix)
    };
    (position(*error.marker()), fault)
}
