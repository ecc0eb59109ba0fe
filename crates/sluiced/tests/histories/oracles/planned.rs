//! A plan beside the daemon has nothing to do when nothing is to be done.

use sluiced::daemon::request::Request;

use crate::history::{History, Verdict};

pub async fn has_nothing_to_do(history: &mut History<'_>) -> Verdict {
    if history.machine.plane.is_faulty() {
        return Ok(());
    }
    match history.machine.ask(|answer| Request::Plan(None, answer)).await {
        Some(Ok(report)) if report.batches.is_empty() => {
            history.reach.hit("plan: nothing to do");
            Ok(())
        }
        Some(Ok(report)) => Err(format!("a plan of the file in force changes the kernel:\n{}", report.text)),
        Some(Err(error)) => Err(format!("no plan: {error:?}")),
        None => Err("the daemon ended instead of planning".into()),
    }
}
