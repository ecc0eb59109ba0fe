//! A batch: messages that the kernel applies as one transaction.

use nftnl::{Batch, FinalizedBatch, MsgType};
use sluice_nft::{CommitError, Errno, Step};

use crate::message::{Encoded, HEADERS};
use crate::step::{About, Messages, Position};
use crate::target::Target;

/// Messages are stored in pages of this size. One send can have at most 1,024 pages.
const PAGE: u32 = 1 << 20;

/// A batch being filled: messages between the begin and end messages.
pub(crate) struct Packed {
    batch: Batch,
    /// The steps of each message, in order.
    about: Vec<About>,
    /// Sequence number of the first message.
    first: u32,
    bytes: usize,
}

/// The position after a batch.
pub(crate) enum Next {
    /// The batch has the last message.
    Done,
    /// The message of this position did not fit.
    At(Position),
}

impl Packed {
    /// Adds messages from `from` on while they fit into `limit` bytes, but at least one. `None` if
    /// there are none. `echo`: the kernel must report deleted elements with counters.
    pub(crate) fn fill(
        table: Target,
        steps: &[Step],
        from: Position,
        limit: usize,
        echo: bool,
    ) -> Result<Option<(Packed, Next)>, CommitError> {
        let mut packed =
            Packed { batch: Batch::with_page_size(PAGE), about: vec![], first: 0, bytes: 2 * HEADERS };
        for message in Messages::new(table, steps, from, echo) {
            let message = message.map_err(|step| unwritable(&steps[step]))?;
            if packed.bytes + message.bytes.len() > limit && !packed.about.is_empty() {
                return Ok(Some((packed, Next::At(message.about.first))));
            }
            packed.push(&message.bytes, message.about);
        }
        Ok((!packed.about.is_empty()).then_some((packed, Next::Done)))
    }

    /// A batch with one message.
    pub(crate) fn one(message: &[u8]) -> Packed {
        let mut packed =
            Packed { batch: Batch::with_page_size(PAGE), about: vec![], first: 0, bytes: 2 * HEADERS };
        packed.push(message, About { first: Position::START, elements: 0 });
        packed
    }

    fn push(&mut self, bytes: &[u8], about: About) {
        let message = Encoded::new(bytes);
        self.batch.add(&message, MsgType::Add);
        if self.about.is_empty() {
            self.first = message.sequence.get();
        }
        self.about.push(about);
        self.bytes += bytes.len();
    }

    /// Ends the batch.
    pub(crate) fn seal(self) -> Sealed {
        let Packed { batch, about, first, bytes } = self;
        Sealed { batch: batch.finalize(), about, first, bytes }
    }
}

/// A complete batch.
pub(crate) struct Sealed {
    pub(crate) batch: FinalizedBatch,
    about: Vec<About>,
    first: u32,
    bytes: usize,
}

impl Sealed {
    /// Size of all messages in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of messages between begin and end.
    pub(crate) fn len(&self) -> usize {
        self.about.len()
    }

    /// The steps of the message with this sequence number; `None` for begin and end.
    pub(crate) fn about(&self, sequence: u32) -> Option<About> {
        self.about.get(sequence.checked_sub(self.first)? as usize).copied()
    }
}

fn unwritable(step: &Step) -> CommitError {
    CommitError { operation: step.to_string(), errno: Errno::EINVAL }
}
