//! Where lines come from and go to.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, Write},
    path::Path,
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of one exported line, at most: far more than a profile can have.
const MAX_EXPORTED_LINE_BYTES: u64 = 256 * 1024 * 1024;

/// Standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file to import, with its size where that is known.
pub(super) async fn chunks(path: &Path) -> anyhow::Result<(impl Stream<Item = io::Result<Bytes>> + use<>, Option<u64>)> {
    let (source, size): (Box<dyn AsyncRead + Unpin>, _) = if is_standard(path) {
        (Box::new(tokio::io::stdin()), None)
    } else {
        let file = tokio::fs::File::open(path).await.with_context(|| format!("can't read {}", path.display()))?;
        let size = file.metadata().await.ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        (Box::new(file), size)
    };
    let chunks = stream::try_unfold(source, async |mut source| {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = source.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), source)))
    });
    Ok((chunks, size))
}

/// Lines that are read twice: first to check them all.
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    /// Bytes read so far, from the beginning.
    pub(super) position: u64,
    pub(super) size: u64,
}

impl Lines {
    /// Standard input is put into a temporary file.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("can't read {}", path.display());
        let file = if is_standard(path) {
            let mut file = tempfile::tempfile().context("can't make a temporary file")?;
            io::copy(&mut io::stdin().lock(), &mut file).context("can't keep standard input in a temporary file")?;
            file.rewind()?;
            file
        } else {
            File::open(path).with_context(context)?
        };
        let size = file.metadata().with_context(context)?.len();
        Ok(Self { reader: BufReader::with_capacity(CHUNK_BYTES, file), line: Vec::new(), number: 0, position: 0, size })
    }

    /// The next line that isn't empty, with its number from 1.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<(u64, &[u8])>> {
        loop {
            self.line.clear();
            let read = (&mut self.reader).take(MAX_EXPORTED_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.position += read as u64;
            self.number += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some((self.number, self.line.trim_ascii())));
            }
        }
    }

    pub(super) fn rewind(&mut self) -> anyhow::Result<()> {
        self.reader.rewind()?;
        (self.number, self.position) = (0, 0);
        Ok(())
    }
}

/// Where an export goes: into a file that appears when it is whole, or to standard output.
pub(super) enum Output {
    File(io::BufWriter<NamedTempFile>),
    Standard(io::BufWriter<io::Stdout>),
}

impl Output {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        if is_standard(path) {
            return Ok(Self::Standard(io::BufWriter::with_capacity(CHUNK_BYTES, io::stdout())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self::File(io::BufWriter::with_capacity(CHUNK_BYTES, file)))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(writer) => writer.write_all(bytes),
            Self::Standard(writer) => writer.write_all(bytes),
        }
    }

    /// Everything was written.
    pub(super) fn finish(self, path: &Path) -> anyhow::Result<()> {
        match self {
            Self::File(writer) => {
                let file = writer.into_inner()?;
                file.as_file().sync_all()?;
                file.persist(path).with_context(|| format!("can't write {}", path.display()))?;
            }
            Self::Standard(mut writer) => writer.flush()?,
        }
        Ok(())
    }
}
