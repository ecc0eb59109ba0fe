//! What has to be so after each event. None of them shares code with what it judges.

mod addresses;
mod answers;
mod due;
mod explained;
mod figures;
mod flows;
mod packets;
pub mod planned;
mod readiness;
mod shares;
mod status;
mod table;

use std::time::Duration;

use sluice_api::Status;
use tokio::time::Instant;

use crate::history::{History, Verdict};

/// Looks at everything; `settled` if nothing is under way.
pub async fn look(history: &mut History<'_>, status: &Status, settled: bool) -> Verdict {
    due::happened(history)?;
    let record = history.machine.plane.take_record();
    answers::were_answered(history, &record)?;
    packets::were_translated(history, &record)?;
    let quiet = settled && status.table.synced && !history.machine.hosts.any_flaps();
    readiness::is_right(history, status, quiet)?;
    if quiet {
        history.reach.hit("oracles: all was quiet");
        table::is_fresh(history, Instant::now())?;
        status::is_true(history, status)?;
        addresses::are_right(history, status)?;
        shares::are_right(history, status)?;
        packets::go_to_the_pool(history)?;
        answers::are_answered(history)?;
        explained::says_the_same(history, Instant::now())?;
        planned::has_nothing_to_do(history).await?;
    } else {
        history.reach.hit("oracles: something was under way");
    }
    flows::are_right(history, quiet).await?;
    if quiet {
        figures::say_the_same(history).await?;
    }
    history.is_quiet = quiet;
    history.model.touched.clear();
    Ok(())
}

/// Looks at what a daemon left that was stopped in order.
pub async fn stopped(history: &mut History<'_>, keeps: bool) -> Verdict {
    addresses::were_withdrawn(history)?;
    let table = history.machine.plane.table();
    if table.is_some() != keeps {
        return Err(format!("table after a stop with on_stop keep={keeps}: {}", table.is_some()));
    }
    if !keeps && history.machine.forwards() && !history.forgetful {
        return Err("forwarding was not put back by a stop".into());
    }
    history.reach.hit(if keeps { "stopped, table kept" } else { "stopped, table removed" });
    history.machine.plane.take_record();
    history.table = table;
    if !keeps {
        history.machine.pass(Duration::from_secs(2)).await;
        flows::nobody_takes_any(history)?;
    }
    Ok(())
}
