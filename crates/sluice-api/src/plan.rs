//! What would change in the kernel, and why.

use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/plan`: the texts of a configuration that is not the daemon's file. Without a body the daemon
/// reads its own file again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRequest {
    /// The file.
    pub file: FileText,
    /// The files behind each of its `include` patterns.
    #[serde(default)]
    pub includes: Vec<IncludeTexts>,
}

/// The files behind one `include` pattern, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludeTexts {
    /// The pattern, as the file has it.
    pub pattern: String,
    /// The files.
    pub files: Vec<FileText>,
}

/// A file by its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// The name that it has in messages.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A plan: what a reload would do to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Objects (sets, chains, rules, elements) to add.
    pub added: usize,
    /// Objects to replace.
    pub changed: usize,
    /// Objects to remove.
    pub removed: usize,
    /// Commits in order; empty: nothing to do.
    pub batches: Vec<PlanBatch>,
    /// The same for people, in lines.
    pub text: String,
}

/// The steps of one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBatch {
    /// `prepare`, `switch` or `retire`.
    pub purpose: String,
    /// In order.
    pub steps: Vec<PlanStep>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// The nft command.
    pub step: String,
    /// The service that it is for; `null`: several.
    pub service: Option<String>,
    /// What was found in the kernel.
    pub why: String,
}
