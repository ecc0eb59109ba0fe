//! [`MinWriteRate`]: a connection that fails if the peer reads too slowly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time within which a peer must read this many bytes.
const PATIENCE: Duration = Duration::from_secs(20);
const MIN_BYTES: usize = 64 * 1024;

/// A stream that fails if the peer reads too little of the pending data, because pending data use memory.
pub(super) struct MinWriteRate<S> {
    inner: S,
    /// While data are pending: the deadline, and the number of bytes read since the first of them.
    deadline: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> MinWriteRate<S> {
    pub(super) fn new(inner: S) -> Self {
        MinWriteRate { inner, deadline: None }
    }

    fn wrote(&mut self, bytes: usize, offered: usize) {
        if let Some((_, read)) = &mut self.deadline {
            *read += bytes;
            if bytes == offered || *read >= MIN_BYTES {
                self.deadline = None;
            }
        }
    }

    fn is_too_slow(&mut self, context: &mut Context<'_>) -> bool {
        let (end, _) = self.deadline.get_or_insert_with(|| (Box::pin(sleep(PATIENCE)), 0));
        end.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MinWriteRate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MinWriteRate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, buf) {
            Poll::Pending if self.is_too_slow(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
            Poll::Ready(written) => {
                let written = written?;
                self.wrote(written, buf.len());
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn peer_that_reads_nothing_times_out() {
        let (ours, _theirs) = duplex(1000);
        let error = MinWriteRate::new(ours).write_all(&[0; 2000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_reads_too_little_times_out() {
        let (ours, mut theirs) = duplex(1000);
        let dribble = async {
            loop {
                sleep(PATIENCE / 3).await;
                theirs.read_exact(&mut [0; 100]).await.unwrap();
            }
        };
        let mut ours = MinWriteRate::new(ours);
        let written = tokio::select! {
            written = ours.write_all(&[0; 1_000_000]) => written,
            () = dribble => unreachable!(),
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_is_slow_but_reads_enough_gets_everything() {
        let (ours, mut theirs) = duplex(MIN_BYTES);
        let reading = async {
            let mut read = 0;
            while read < 1_000_000 {
                sleep(PATIENCE / 2).await;
                read += theirs.read(&mut vec![0; MIN_BYTES]).await.unwrap();
            }
        };
        let mut ours = MinWriteRate::new(ours);
        let (written, ()) = tokio::join!(ours.write_all(&[0; 1_000_000]), reading);
        written.unwrap();
    }
}
