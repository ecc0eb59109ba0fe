//! Plans: what a reload would change in the kernel, and why.

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/plan`: a configuration as text. Without a body, the daemon plans a reload of its own file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The main file.
    pub file: FileText,
    /// The files of each `include` pattern.
    #[serde(default)]
    pub includes: Vec<IncludeTexts>,
}

/// The files of one `include` pattern, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludeTexts {
    /// The pattern, as it is in the main file.
    pub pattern: String,
    /// The files.
    pub files: Vec<FileText>,
}

/// A file as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// The path for messages.
    pub path: String,
    /// The YAML text.
    pub text: String,
}

/// The changes that a reload would make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Objects (sets, chains, rules, elements) to add.
    pub added: usize,
    /// Objects to replace.
    pub changed: usize,
    /// Objects to remove.
    pub removed: usize,
    /// Commits in order; empty if nothing would change.
    pub batches: Vec<PlanBatch>,
    /// The plan as text for people.
    pub text: String,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBatch {
    /// `prepare`, `switch` or `retire`.
    pub purpose: String,
    /// Steps in order.
    pub steps: Vec<PlanStep>,
}

/// One step of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// The nft command.
    pub step: String,
    /// The service that needs it; `null`: several.
    pub service: Option<String>,
    /// The reason.
    pub why: String,
}
