//! A stream whose reader has a limited time to take each answer, so that one who reads slowly or not at all does not keep
//! a connection and an answer in memory for as long as it likes.
//!
//! The time begins with the first byte that is written and ends with the flush, which the HTTP server does when its buffer
//! is empty, that is, when the answer is out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug)]
pub(super) struct SendLimit<S> {
    stream: S,
    limit: Duration,
    /// While something is on its way.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> SendLimit<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, deadline: None }
    }

    /// Fails `pending` once the time is over.
    fn limited<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SendLimit<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SendLimit<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.limited(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.deadline = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use std::future::poll_fn;

    use tokio::net::UnixStream;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);
    /// More than the kernel takes at once.
    const LARGE: usize = 1 << 20;

    async fn write(stream: &mut SendLimit<UnixStream>, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await
    }

    async fn read(stream: &mut UnixStream, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await.unwrap();
        buffer.filled().len()
    }

    /// Writes for as long as it may.
    async fn endless(stream: &mut SendLimit<UnixStream>) -> io::Error {
        loop {
            if let Err(error) = write(stream, &[0; LARGE]).await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn answers_that_are_taken_have_their_time_each() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = SendLimit::new(ours, LIMIT);
        for _ in 0..4 {
            assert_eq!(write(&mut stream, b"1234").await.unwrap(), 4);
            poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await.unwrap();
            assert_eq!(read(&mut theirs, 4).await, 4);
            tokio::time::sleep(LIMIT / 2).await;
        }
    }

    #[tokio::test]
    async fn one_that_is_not_taken_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(endless(&mut SendLimit::new(ours, LIMIT)).await.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_is_taken_in_drops_is_given_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = SendLimit::new(ours, LIMIT);
        let drops = async {
            loop {
                tokio::time::sleep(LIMIT / 20).await;
                read(&mut theirs, LARGE / 8).await;
            }
        };
        tokio::select! {
            () = drops => {}
            error = endless(&mut stream) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
        }
    }
}
