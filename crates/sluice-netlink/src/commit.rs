//! Sends steps as batches, and explains errors.

use std::io::IoSlice;

use nix::errno::Errno;
use sluice_nft::{CommitError, Data, Key, SetRef, Step, Table, generation_after};

use crate::attr::Write;
use crate::batch::{Next, Packed, Sealed};
use crate::deleted::Deleted;
use crate::element;
use crate::message::{self, HEADERS};
use crate::reply::{self, Refusal, Reply};
use crate::socket::Socket;
use crate::step::{About, Messages, Position, run};
use crate::target::Target;
use crate::uapi;

/// If the system rejects a send, smaller batches are tried, down to this size.
const SMALLEST_LIMIT: usize = 1 << 16;

/// Maximum number of elements listed in an error; of longer steps only the rejected element is named.
const LISTED: usize = 4;

/// Sends steps in batches of at most `limit` bytes, one if that is enough, and lowers `limit` if the
/// system accepts less. Returns the number of messages sent, including begins and ends, and the generation after
/// the last batch if the first was planned from one. Adds counts of deleted elements to `deleted`.
pub(crate) fn commit(
    socket: &mut Socket,
    table: Target,
    steps: &[Step],
    planned_from: Option<u32>,
    limit: &mut usize,
    deleted: &mut Deleted,
) -> (u64, Result<Option<u32>, CommitError>) {
    let mut generation = planned_from;
    let mut sent = 0;
    let mut from = Position::START;
    loop {
        let (batch, next) = match Packed::fill(table, steps, from, *limit, deleted.echo) {
            Ok(Some((packed, next))) => (packed.seal(), next),
            Ok(None) => return (sent, Ok(generation)),
            Err(error) => return (sent, Err(error)),
        };
        match send(socket, &batch, generation, |event| deleted.record(event)) {
            Ok(refusals) => {
                sent += batch.len() as u64 + 2;
                if let Some((sequence, refusal)) = refusals.first() {
                    return (sent, Err(explain(steps, batch.about(*sequence), *refusal)));
                }
                generation = generation.map(generation_after);
            }
            Err(Errno::EMSGSIZE | Errno::ENOBUFS) if *limit > SMALLEST_LIMIT => {
                *limit = batch.bytes().min(*limit).div_ceil(2).max(SMALLEST_LIMIT);
                continue;
            }
            Err(errno) => return (sent, Err(failed("send a batch", errno))),
        }
        match next {
            Next::Done => return (sent, Ok(generation)),
            Next::At(position) => from = position,
        }
    }
}

/// Gives the existing table the flags of `table`.
pub(crate) fn change_flags(
    socket: &mut Socket,
    table: Target,
    planned_from: Option<u32>,
) -> Result<(), CommitError> {
    let refusals = send(socket, &Packed::one(&table.message(0)).seal(), planned_from, |_| {});
    match refusals.map(|refusals| refusals.first().map(|(_, refusal)| refusal.errno)) {
        Ok(None) => Ok(()),
        Ok(Some(errno)) | Err(errno) => Err(failed(format!("own table {}", Table::NAME), errno)),
    }
}

/// Sends a batch and returns the rejected messages: sequence numbers and errors. If any message is
/// rejected, or the generation is not `planned_from`, nothing is applied. Calls `echo` with the kernel's
/// reports of changes, which may be incomplete if the receive buffer overflows.
pub(crate) fn send(
    socket: &mut Socket,
    batch: &Sealed,
    planned_from: Option<u32>,
    mut echo: impl FnMut(&[u8]),
) -> Result<Vec<(u32, Refusal)>, Errno> {
    let mut pages = batch.batch.iter();
    let (begin, first) = pages.next().and_then(|page| page.split_at_checked(HEADERS)).ok_or(Errno::EINVAL)?;
    let begin = begin_from(begin, planned_from);
    let parts: Vec<_> = [&begin, first].into_iter().chain(pages).map(IoSlice::new).collect();
    socket.send(&parts)?;
    let mut refusals = Vec::new();
    let (mut done, mut overflowed) = (false, false);
    loop {
        let arrived = socket.receive(|answer| match reply::parse(answer) {
            Reply::Error(refusal) => refusals.push((message::sequence(answer), refusal)),
            Reply::Data => {
                done = true;
                echo(answer);
            }
            Reply::End => {}
        });
        match arrived {
            Ok(true) => {}
            Ok(false) => break,
            // The receive buffer overflowed; it keeps the first messages.
            Err(Errno::ENOBUFS) if !overflowed => overflowed = true,
            // Must differ from errors of `send`, after which the batch is sent again.
            Err(_) => return Err(Errno::EIO),
        }
    }
    if overflowed && refusals.is_empty() && !done { Err(Errno::EIO) } else { Ok(refusals) }
}

/// The begin message of a batch with the generation (`nfnetlink_rcv_skb_batch`); nftnl writes it without
/// attributes.
fn begin_from(begin: &[u8], planned_from: Option<u32>) -> Vec<u8> {
    let mut begin = begin.to_vec();
    if let Some(generation) = planned_from {
        begin.put_u32(uapi::batch::GENERATION, generation);
    }
    message::finish(begin)
}

fn explain(steps: &[Step], about: Option<About>, Refusal { errno, offset }: Refusal) -> CommitError {
    let operation = match about {
        None => "commit a batch".to_owned(),
        Some(About { first, elements: 0 }) => steps[first.step].to_string(),
        Some(about) => elements(steps, about, offset),
    };
    failed(operation, errno)
}

/// The text of the rejected step about elements. Of a long step only the rejected element, or the
/// first few if the kernel does not report which one.
fn elements(steps: &[Step], about: About, offset: Option<usize>) -> String {
    let refused = offset.and_then(|offset| {
        let message = Messages::new(Target::SLUICE, steps, about.first, false).next()?.ok()?;
        run(steps, about.first).nth(element::at_offset(&message.bytes, offset)?).map(|(position, _)| position)
    });
    let at = refused.unwrap_or(about.first);
    let step = &steps[at.step];
    let part: fn(SetRef, Vec<(Key, Data)>) -> Step = match step {
        Step::DeleteElements(..) => Step::DeleteElements,
        _ => Step::AddElements,
    };
    match step {
        Step::AddElements(of, all) | Step::DeleteElements(of, all) if all.len() > LISTED => {
            let listed = all[at.element..].iter().take(if refused.is_some() { 1 } else { LISTED });
            let text = part(of.clone(), listed.cloned().collect()).to_string();
            match refused {
                Some(_) => text,
                None => format!("{}, ... }}", text.trim_end_matches(" }")),
            }
        }
        step => step.to_string(),
    }
}

fn failed(operation: impl Into<String>, errno: Errno) -> CommitError {
    CommitError { operation: operation.into(), errno: sluice_nft::Errno(errno as i32) }
}
