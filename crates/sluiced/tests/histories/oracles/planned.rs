//! A plan beside the daemon has nothing to do when nothing is to be done, and says what a reload does.

use sluice_api::{ErrorReply, PlanBatch, PlanReport};
use sluiced::request::Request;
use tokio::time::Instant;

use crate::history::{History, Verdict};

pub async fn has_nothing_to_do(history: &mut History<'_>) -> Verdict {
    if history.machine.plane.is_faulty() {
        return Ok(());
    }
    match plan(history).await? {
        Some(Ok(report)) if report.batches.is_empty() => {
            history.reach.hit("plan: nothing to do");
            Ok(())
        }
        Some(Ok(report)) => Err(format!("a plan of the file in force changes the kernel:\n{}", report.text)),
        Some(Err(error)) => Err(format!("no plan: {error:?}")),
        None => Err("the daemon ended instead of planning".into()),
    }
}

/// The plan of a reload of the file, as the control socket asks for it; `None`: the daemon ended.
async fn plan(history: &mut History<'_>) -> Result<Option<Result<PlanReport, ErrorReply>>, String> {
    let loaded = sluice_config::load(&history.machine.path("sluice.yaml"));
    let loaded = loaded.map_err(|problems| format!("the file in force is invalid: {problems:?}"))?;
    Ok(history.machine.ask(|answer| Request::Plan(Box::new(loaded), answer)).await)
}

/// Batches that a reload of the file makes first, as a plan says; `None`: that is not known, for something else is under way.
pub async fn reload(history: &mut History<'_>) -> Result<Option<Vec<Vec<String>>>, String> {
    let plane = history.machine.plane.clone();
    if !history.is_quiet || plane.is_faulty() || history.model.moves(Instant::now()) {
        return Ok(None);
    }
    let tried = plane.tried();
    history.machine.come_to_rest().await;
    let planned = plan(history).await?;
    history.machine.come_to_rest().await;
    plane.take_batches();
    match planned {
        // Health changed just now.
        Some(Ok(_)) if plane.tried() != tried => Ok(None),
        Some(Ok(report)) => {
            let steps = |batch: PlanBatch| batch.steps.into_iter().map(|step| step.step).collect();
            Ok(Some(report.batches.into_iter().map(steps).collect()))
        }
        Some(Err(error)) => Err(format!("no plan of a valid file: {error:?}")),
        None => Err("the daemon ended instead of planning".into()),
    }
}

/// The reload made them.
pub fn was_made(history: &mut History<'_>, planned: &[Vec<String>]) -> Verdict {
    let made = history.machine.plane.take_batches();
    match made.starts_with(planned) {
        true if planned.is_empty() => Ok(()),
        true => {
            history.reach.hit("plan: says what a reload does");
            Ok(())
        }
        false => Err(format!("a reload was planned as {planned:#?}, and made {made:#?}")),
    }
}
